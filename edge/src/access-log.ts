import type { Route } from "@openfaas-cloud/shared/route.ts";
import type { Lane } from "./metrics.ts";
import type { Reason } from "./refusal.ts";

/** What is written down of one request. */
export interface AccessEntry {
  readonly requestId: string;
  /** Of the client, behind trusted peers as well. */
  readonly address: string;
  readonly scheme: "http" | "https";
  readonly lane: Lane;
  readonly method: string;
  readonly host: string | undefined;
  /** As it came, with a query that is not written down. */
  readonly rawTarget: string;
  readonly status: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly durationMs: number;
  readonly route: Pick<Route, "owner" | "function"> | undefined;
  /** Id of the replica. */
  readonly upstream: string | undefined;
  readonly reason: Reason | undefined;
  /** As it came, valid or not. */
  readonly traceparent: string | undefined;
}

/** Takes whole lines, and may drop some. */
export interface AccessOutput {
  offer(line: string): void;
}

export interface AccessLogOptions {
  /** One of so many requests; with 0 there is no log. */
  readonly every: number;
  /** Which of several processes this is. */
  readonly worker?: number | undefined;
}

/**
 * One JSON line a request, put together by hand: at 20,000 requests a second a general serialiser would be a tenth of all
 * work. What goes wrong is always written down, of the rest one in `every`.
 */
export class AccessLog {
  readonly #output: AccessOutput;
  readonly #every: number;
  /** What follows the time in each line. */
  readonly #worker: string;
  #second = 0;
  #secondText = "";

  constructor(output: AccessOutput, { every, worker }: AccessLogOptions) {
    this.#output = output;
    this.#every = every;
    this.#worker = worker === undefined ? "" : `,"worker":${worker}`;
  }

  /** Asked first, so that nothing is gathered in vain. */
  wants(status: number, reason: Reason | undefined): boolean {
    if (this.#every <= 1) return this.#every === 1;
    return status >= 500 || reason !== undefined || Math.random() * this.#every < 1;
  }

  write(entry: AccessEntry): void {
    const { host, route, upstream, reason } = entry;
    // Schemes, lanes, reasons, and names of owners and functions are words without anything to escape.
    let line =
      `{"level":30,"time":"${this.#now()}"${this.#worker},"requestId":${quote(entry.requestId)}` +
      `,"client":${quote(entry.address)},"scheme":"${entry.scheme}","lane":"${entry.lane}","method":${quote(entry.method)}`;
    if (host !== undefined) line += `,"host":${quote(host)}`;
    line +=
      `,"path":${quote(pathOf(entry.rawTarget))},"status":${entry.status}` +
      `,"bytesIn":${entry.bytesReceived},"bytes":${entry.bytesSent}` +
      `,"durationMs":${thousandths(entry.durationMs)}`;
    if (route !== undefined) line += `,"owner":"${route.owner}","function":"${route.function}"`;
    if (upstream !== undefined) line += `,"upstream":${quote(upstream)}`;
    if (reason !== undefined) line += `,"reason":"${reason}"`;
    const traceId = entry.traceparent === undefined ? undefined : traceIdOf(entry.traceparent);
    if (traceId !== undefined) line += `,"traceId":"${traceId}"`;
    this.#output.offer(`${line}}\n`);
  }

  /** As `toISOString` has it, which is asked once a second. */
  #now(): string {
    const nowMs = Date.now();
    const second = Math.floor(nowMs / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#secondText = new Date(second * 1000).toISOString().slice(0, -4);
    }
    return `${this.#secondText}${threeDigits(nowMs - second * 1000)}Z`;
  }
}

/** With three decimals; whole numbers become text much faster than others do. */
function thousandths(value: number): string {
  const all = Math.round(value * 1000);
  const whole = Math.floor(all / 1000);
  return `${whole}.${threeDigits(all - whole * 1000)}`;
}

function threeDigits(value: number): string {
  if (value >= 100) return `${value}`;
  return value < 10 ? `00${value}` : `0${value}`;
}

/** Printable ASCII that JSON has as it is. */
const PLAIN = /^[ !#-[\]-~]*$/;

function quote(value: string): string {
  return PLAIN.test(value) ? `"${value}"` : JSON.stringify(value);
}

/** Without the query, nor what may stand before the host of an absolute-form target: both may hold what nobody should keep. */
function pathOf(rawTarget: string): string {
  const end = rawTarget.indexOf("?");
  const target = end === -1 ? rawTarget : rawTarget.slice(0, end);
  if (target.startsWith("/") || target === "*") return target;
  const authority = target.indexOf("//");
  const path = authority === -1 ? -1 : target.indexOf("/", authority + 2);
  return path === -1 ? "" : target.slice(path);
}

const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:$|-)/;

/** By W3C Trace Context §3.2: a version that is not known yet may have more to say, version 00 may not. */
export function traceIdOf(traceparent: string): string | undefined {
  if (traceparent.length !== 55 && traceparent.startsWith("00")) return undefined;
  return TRACEPARENT.exec(traceparent)?.[1];
}
