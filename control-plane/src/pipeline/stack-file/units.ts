const MiB = 1024 * 1024;

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  k: 1024,
  kb: 1024,
  ki: 1024,
  m: MiB,
  mb: MiB,
  mi: MiB,
  g: 1024 * MiB,
  gb: 1024 * MiB,
  gi: 1024 * MiB,
};

/** Kubernetes' decimal units; everything else is read as Docker reads it. */
const DECIMAL_UNITS: Readonly<Record<string, number>> = { K: 1000, M: 1e6, G: 1e9 };

/** A size as Kubernetes or Docker writes it, in bytes: `128Mi`, `30m`, `1Gi`, `134217728`. */
export function parseQuantity(text: string): number | undefined {
  const match = /^(\d{1,15}(?:\.\d{1,6})?) ?([A-Za-z]{0,2})$/.exec(text);
  if (match === null) return undefined;
  const [, number = "", unit = ""] = match;
  const factor =
    DECIMAL_UNITS[unit] ?? (Object.hasOwn(UNITS, unit.toLowerCase()) ? UNITS[unit.toLowerCase()] : undefined);
  return factor === undefined ? undefined : Math.floor(Number(number) * factor);
}

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** A duration as Go writes it (`1m30s`, `500ms`, `0`), in milliseconds. */
export function parseDuration(text: string): number | undefined {
  if (text === "0") return 0;
  if (!/^(\d{1,9}(\.\d{0,9})?(ns|us|µs|ms|s|m|h))+$/.test(text) || text.length > 50) return undefined;
  let sum = 0;
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)/g)) {
    sum += Number(number) * (DURATION_UNITS[unit ?? ""] ?? 0);
  }
  return Math.round(sum);
}
