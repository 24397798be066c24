import { Access, type RouteLimits } from "@openfaas-cloud/shared/route.ts";
import type { Findings } from "./findings.ts";
import { IGNORED_ANNOTATIONS, IGNORED_LABELS } from "./ignored-keys.ts";
import { type Entry, type NodeReader, own, type Text, textsOf, whereIs } from "./node-reader.ts";
import { AUTH, isMistaken, isWithoutEffect, mistake, saysOrigin } from "./platform-keys.ts";
import { quote } from "./quote.ts";
import { type RouteLimitMaxima, readRouteLimits } from "./route-limits.ts";
import { parseDuration } from "./units.ts";

/** Answered by the templates themselves, once the handler is loaded; a path of the handler's own is asked for by annotation. */
const DEFAULT_HEALTH_PATH = "/_/health";
const MAX_INITIAL_DELAY_MS = 120_000;
const MIN_REPLICAS = "com.openfaas.scale.min";

/** A function's labels, and what they ask for. */
export function readLabels(
  entry: Entry | undefined,
  path: string,
  { reader, findings, maxReplicas }: ReadFrom & { readonly maxReplicas: number },
): { readonly kept: Record<string, string>; readonly replicas: number } {
  const read = reader.texts(entry, `${path}.labels`);
  const kept = withoutPlatformKeys(read, `${path}.labels`, "labels", findings);
  const minimum = own(textsOf(read), MIN_REPLICAS);
  if (minimum === undefined) return { kept, replicas: 1 };
  const at = whereIs(MIN_REPLICAS, read);
  const replicas = /^\d{1,6}$/.test(minimum) ? Number(minimum) : 0;
  if (replicas < 1)
    findings.note(at, `${path}.labels: ${MIN_REPLICAS} must be a number from 1 to ${maxReplicas}`);
  if (replicas > maxReplicas)
    findings.ignore(
      at,
      `${path}.labels.${MIN_REPLICAS}`,
      `${maxReplicas} replicas is the most, and is what it gets`,
    );
  return { kept, replicas: Math.min(replicas, maxReplicas) };
}

/** A function's annotations, and what those of them ask for that the edge has no part in. */
export function readAnnotations(entry: Entry | undefined, path: string, { reader, findings }: ReadFrom) {
  const read = reader.texts(entry, `${path}.annotations`);
  const annotations = textsOf(read);
  const kept = withoutPlatformKeys(read, `${path}.annotations`, "annotations", findings);
  const refuse = (key: string, what: string) =>
    findings.note(whereIs(key, read), `${path}.annotations: ${key} ${what}`);

  const healthPath = own(annotations, "com.openfaas.health.http.path") ?? DEFAULT_HEALTH_PATH;
  if (!/^\/[\w\-.~!$&'()*+,;=:@%/?]{0,199}$/.test(healthPath))
    refuse("com.openfaas.health.http.path", "must be a path that begins with /");
  const delay = own(annotations, "com.openfaas.health.http.initialDelay");
  const healthInitialDelayMs = delay === undefined ? 0 : (parseDuration(delay) ?? Number.POSITIVE_INFINITY);
  if (healthInitialDelayMs > MAX_INITIAL_DELAY_MS)
    refuse("com.openfaas.health.http.initialDelay", "must be a duration of at most 2m, such as 30s");
  const auth = own(annotations, AUTH) ?? "public";
  const access = Access.options.find((option) => option === auth);
  if (access === undefined) refuse(AUTH, `must be one of ${Access.options.join(", ")}`);
  // What was refused goes nowhere: the file is refused for it once it is read.
  return { read, kept, refuse, healthPath, healthInitialDelayMs, access: access ?? "members" };
}

/** What is asked of the edge. */
export function readEdgeLimits(
  annotations: Pick<ReturnType<typeof readAnnotations>, "read" | "kept" | "refuse">,
  environment: readonly Text[],
  path: string,
  { findings, maxima }: { readonly findings: Findings; readonly maxima: RouteLimitMaxima },
): Partial<RouteLimits> | undefined {
  const { read, kept, refuse } = annotations;
  const variables = textsOf(environment);
  return readRouteLimits(
    {
      annotation: (key) => own(kept, key),
      variable: (name) => own(variables, name),
      refuse,
      ignore: (key, reason) => {
        const annotated = Object.hasOwn(kept, key);
        const [where, texts] = annotated ? ["annotations", read] : ["environment", environment];
        findings.ignore(whereIs(key, texts), `${path}.${where}.${key}`, reason);
      },
    },
    maxima,
  );
}

interface ReadFrom {
  readonly reader: NodeReader;
  readonly findings: Findings;
}

const WITHOUT_EFFECT = { annotations: IGNORED_ANNOTATIONS, labels: IGNORED_LABELS };

/** Labels and annotations are kept as they are, but for what only the platform may say. */
function withoutPlatformKeys(
  entries: readonly Text[],
  path: string,
  kind: "annotations" | "labels",
  findings: Findings,
): Record<string, string> {
  return textsOf(
    entries.filter(({ key, at }) => {
      if (isMistaken(kind, key)) {
        findings.note(at, `${path}: ${quote(key)} ${mistake(kind, key)}`);
        return false;
      }
      const unread = isWithoutEffect(kind, key) ? `the platform reads no such key of ${kind}` : undefined;
      const reason = own(WITHOUT_EFFECT[kind], key) ?? unread;
      if (reason !== undefined) findings.ignore(at, `${path}.${key}`, reason);
      if (!saysOrigin(key)) return true;
      findings.ignore(at, `${path}.${key}`, "only the platform says where a function comes from");
      return false;
    }),
  );
}
