import { DEFAULT_ROUTE_LIMITS, type Rate, type RouteLimits } from "@openfaas-cloud/shared/route.ts";
import { parseDuration, parseQuantity } from "./units.ts";

/** The most that a function may ask of the edge. */
export interface RouteLimitMaxima {
  readonly maxBodyBytes: number;
  readonly maxConcurrency: number;
  readonly maxTimeoutMs: number;
  readonly maxRatePerS: number;
}

/** The stack file's side: what it says, and what is to be said of it. */
export interface LimitReader {
  readonly annotation: (key: string) => string | undefined;
  readonly variable: (name: string) => string | undefined;
  /** Notes what makes the stack file invalid; `what` continues a sentence that begins with the key. */
  readonly refuse: (key: string, what: string) => void;
  readonly ignore: (key: string, reason: string) => void;
}

const PREFIX = "com.openfaas.cloud.limit.";
const STREAMING = "com.openfaas.cloud.streaming";
/** OpenFaaS's watchdogs end a handler after this long. It is what existing stack files say. */
const EXEC_TIMEOUT = "exec_timeout";
/** Every annotation that is read here. */
export const LIMIT_ANNOTATIONS: readonly string[] = [
  ...["rate", "burst", "concurrency", "body", "timeout"].map((limit) => PREFIX + limit),
  STREAMING,
];
const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };

/** What a function asks of the edge, within what it may; `undefined` where it asks for nothing. */
export function readRouteLimits(
  reader: LimitReader,
  maxima: RouteLimitMaxima,
): Partial<RouteLimits> | undefined {
  const limits = { ...readBody(reader, maxima), ...readConcurrency(reader, maxima) };
  const asked = { ...limits, ...readRate(reader, maxima), ...readTimes(reader, maxima) };
  return Object.keys(asked).length === 0 ? undefined : asked;
}

function readBody(reader: LimitReader, { maxBodyBytes }: RouteLimitMaxima): Partial<RouteLimits> {
  const key = `${PREFIX}body`;
  const text = reader.annotation(key);
  if (text === undefined) return {};
  const asked = parseQuantity(text);
  if (asked === undefined || asked < 1) {
    reader.refuse(key, "must be a size, such as 512Ki or 20Mi");
    return {};
  }
  return { maxBodyBytes: atMost(maxBodyBytes, asked, `${maxBodyBytes} bytes`, key, reader) };
}

function readConcurrency(reader: LimitReader, { maxConcurrency }: RouteLimitMaxima): Partial<RouteLimits> {
  const key = `${PREFIX}concurrency`;
  const text = reader.annotation(key);
  if (text === undefined) return {};
  const asked = wholeNumber(text);
  if (asked === undefined) {
    reader.refuse(key, "must be a number of requests, from 1");
    return {};
  }
  return { maxConcurrency: atMost(maxConcurrency, asked, String(maxConcurrency), key, reader) };
}

function readRate(reader: LimitReader, { maxRatePerS }: RouteLimitMaxima): { rate?: Rate } {
  const [key, burstKey] = [`${PREFIX}rate`, `${PREFIX}burst`];
  const text = reader.annotation(key);
  const burstText = reader.annotation(burstKey);
  if (text === undefined) {
    if (burstText !== undefined) reader.ignore(burstKey, `it has no effect without ${key}`);
    return {};
  }
  const perS = parseRate(text);
  if (perS === undefined) reader.refuse(key, "must be a number of calls, such as 10/s, 600/m or 1000/h");
  const asked = burstText === undefined ? undefined : wholeNumber(burstText);
  const burstFails = burstText !== undefined && asked === undefined;
  if (burstFails) reader.refuse(burstKey, "must be a number of calls at once, from 1");
  if (perS === undefined || burstFails) return {};
  const rate = atMost(maxRatePerS, perS, `${maxRatePerS}/s`, key, reader);
  const burst = asked ?? Math.max(1, Math.ceil(rate));
  return { rate: { perS: rate, burst: atMost(maxRatePerS, burst, String(maxRatePerS), burstKey, reader) } };
}

/** One number for the author, who knows how long a call takes and not what it spends the time on. */
function readTimes(reader: LimitReader, { maxTimeoutMs }: RouteLimitMaxima): Partial<RouteLimits> {
  const streaming = reader.annotation(STREAMING) ?? "false";
  if (streaming !== "true" && streaming !== "false") reader.refuse(STREAMING, "must be true or false");
  const endless = streaming === "true" ? { totalMs: null } : {};
  const timeoutMs = readTimeout(reader, maxTimeoutMs);
  if (timeoutMs === undefined) return endless;
  // A stream may last; to begin it may take as long as was asked for.
  return { firstByteMs: timeoutMs, totalMs: timeoutMs, ...endless };
}

function readTimeout(reader: LimitReader, maxTimeoutMs: number): number | undefined {
  const key = `${PREFIX}timeout`;
  const most = `${maxTimeoutMs / 1000}s`;
  const text = reader.annotation(key);
  if (text !== undefined) {
    const asked = parseSeconds(text);
    if (asked === undefined || asked < 1) {
      reader.refuse(key, "must be a duration, such as 30s or 5m");
      return undefined;
    }
    return atMost(maxTimeoutMs, asked, most, key, reader);
  }
  const variable = reader.variable(EXEC_TIMEOUT);
  if (variable === undefined) return undefined;
  const asked = parseSeconds(variable);
  if (asked === undefined) {
    reader.ignore(
      EXEC_TIMEOUT,
      "it is no duration, so it does not bound a call; the function sees it as it is",
    );
    return undefined;
  }
  // A watchdog takes nought for no bound.
  return atMost(maxTimeoutMs, asked === 0 ? maxTimeoutMs : asked, most, EXEC_TIMEOUT, reader);
}

function atMost(most: number, asked: number, words: string, key: string, reader: LimitReader): number {
  if (asked > most) reader.ignore(key, `${words} is the most, and is what it gets`);
  return Math.min(asked, most);
}

function wholeNumber(text: string): number | undefined {
  return /^[1-9]\d{0,8}$/.test(text) ? Number(text) : undefined;
}

/** A second. */
function parseRate(text: string): number | undefined {
  const match = /^(\d{1,9}(?:\.\d{1,6})?)(?:\/([smh]))?$/.exec(text);
  if (match === null) return undefined;
  const perS = Number(match[1]) / (SECONDS[match[2] ?? "s"] ?? 1);
  return perS > 0 ? perS : undefined;
}

/** A duration, or a bare number of seconds, as watchdogs read them. */
function parseSeconds(text: string): number | undefined {
  return /^\d{1,9}$/.test(text) ? Number(text) * 1000 : parseDuration(text);
}

/** What the maxima are where nobody says otherwise. */
export const DEFAULT_ROUTE_LIMIT_MAXIMA: RouteLimitMaxima = {
  maxBodyBytes: 10 * DEFAULT_ROUTE_LIMITS.maxBodyBytes,
  maxConcurrency: 10 * DEFAULT_ROUTE_LIMITS.maxConcurrency,
  maxTimeoutMs: 15 * 60_000,
  maxRatePerS: 100_000,
};
