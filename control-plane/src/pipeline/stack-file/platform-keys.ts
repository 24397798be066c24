import { LIMIT_ANNOTATIONS } from "./route-limits.ts";

/** What begins so is read by the platform and by nobody else. */
const NAMESPACE = "com.openfaas.cloud.";
/** Where a function comes from; OpenFaaS Cloud put these on functions, and nobody's stack file may. */
const ORIGIN = `${NAMESPACE}git-`;

export const AUTH = `${NAMESPACE}auth`;

const ANNOTATIONS: readonly string[] = [AUTH, ...LIMIT_ANNOTATIONS];

/** OpenFaaS's own, whose rest is read by parts of it that are not here. */
const OPENFAAS = "com.openfaas.";
const OPENFAAS_READ: Readonly<Record<"annotations" | "labels", readonly string[]>> = {
  annotations: ["com.openfaas.health.http.path", "com.openfaas.health.http.initialDelay"],
  labels: ["com.openfaas.scale.min"],
};

export function saysOrigin(key: string): boolean {
  return key.startsWith(ORIGIN);
}

/**
 * Whether a key stands for something of the platform's that is not there. Nobody else reads it, so it is misspelt or misplaced;
 * left out, a function may be open that was meant to be closed.
 */
export function isMistaken(kind: "annotations" | "labels", key: string): boolean {
  if (!key.toLowerCase().startsWith(NAMESPACE) || saysOrigin(key)) return false;
  return kind === "labels" || !ANNOTATIONS.includes(key);
}

/** What to do about it; continues a sentence that begins with the key. */
export function mistake(kind: "annotations" | "labels", key: string): string {
  const all = ANNOTATIONS.join(", ");
  if (ANNOTATIONS.includes(key)) return "is an annotation: write it under annotations";
  const what =
    kind === "labels" ? "is no label, and no annotation either" : "is no annotation of the platform's";
  return `${what}; ${nearest(key)} is the nearest of those there are: ${all}`;
}

/** Whether a key looks as if OpenFaaS read it, and nothing here does. */
export function isWithoutEffect(kind: "annotations" | "labels", key: string): boolean {
  if (key.toLowerCase().startsWith(NAMESPACE)) return false;
  return key.toLowerCase().startsWith(OPENFAAS) && !OPENFAAS_READ[kind].includes(key);
}

/** Of a key that is compared; no known one is half as long. */
const MAX_COMPARED_CHARACTERS = 100;

function nearest(key: string): string {
  const written = key.slice(0, MAX_COMPARED_CHARACTERS).toLowerCase();
  const [first] = ANNOTATIONS.map((known) => ({ known, edits: editsBetween(written, known) })).toSorted(
    (a, b) => a.edits - b.edits,
  );
  return first?.known ?? AUTH;
}

/** How many characters are added, left out or replaced between two words. */
function editsBetween(from: string, to: string): number {
  let above = Array.from({ length: to.length + 1 }, (_, i) => i);
  for (let row = 1; row <= from.length; row++) {
    const edits = [row];
    for (let column = 1; column <= to.length; column++) {
      const replaced = (above[column - 1] ?? 0) + (from[row - 1] === to[column - 1] ? 0 : 1);
      edits.push(Math.min(replaced, (above[column] ?? 0) + 1, (edits[column - 1] ?? 0) + 1));
    }
    above = edits;
  }
  return above[to.length] ?? 0;
}
