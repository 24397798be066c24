import { answerHeader, type RawAnswer, readAnswers } from "./answers.ts";
import type { Heard } from "./conversation.ts";
import type { Reading, ReadRequest } from "./llhttp-oracle.ts";
import type { Execution } from "./recording-upstream.ts";
import { decide } from "./target-model.ts";

export interface Conversation {
  /** What a standard reader makes of what the client said. */
  readonly reading: Reading;
  readonly heard: Heard;
  /** What the function was asked on behalf of this client, in order. */
  readonly executions: readonly Execution[];
  /** The client left before the end of what it had to say, so that answers may be missing. */
  readonly left?: boolean;
}

/** Refusals that are the edge's own, before anything is forwarded, and end the connection. */
const CLOSING = new Set([400, 405, 408, 413, 414, 431, 501, 505]);

/**
 * Whether what was answered and executed is what the client said, request by request (SECURITY.md I6): nothing executed that
 * a standard reader does not read, nothing twice, nothing changed; each answer in its place, and the requests' own.
 */
export function problemsOf({ reading, heard, executions, left = false }: Conversation): string[] {
  const problems: string[] = [];
  const { requests, end } = reading;
  const methods = requests.map((request) => request.method);
  const { answers, rest } = readAnswers(heard.received, methods);
  if (!heard.closed) problems.push("the connection was neither answered nor closed");
  if (rest !== "" && !left) problems.push(`half an answer: ${JSON.stringify(rest.slice(0, 200))}`);

  // Requests in a row may be executed beside each other, so not necessarily in this order.
  const executed = new Map(executions.map((execution) => [String(execution.number), execution]));
  for (const [i, answer] of answers.entries()) {
    const isLast = i === answers.length - 1;
    const number = answerHeader(answer, "x-execution");
    const request = requests[i];
    if (number === undefined) problems.push(...problemsOfOwn(answer, request, isLast));
    else if (request === undefined) problems.push(`answer ${i} is to a request that nobody reads`);
    else problems.push(...problemsOfExecution(i, number, executed.get(number), request));
    executed.delete(number ?? "");
    if (!isLast && answerHeader(answer, "connection") === "close")
      problems.push(`answer ${i} closes, more follow`);
  }
  const unanswered = left ? unlike(requests.slice(answers.length), executed.values()) : executed.size;
  if (unanswered > 0) problems.push(`${unanswered} requests were executed and not answered`);
  const expected = requests.filter((request) => request.whole).length + (end === "refused" ? 1 : 0);
  const closes = answers.length > 0 && answers.at(-1)?.headers.includes("close") === true;
  if (answers.length < expected && !closes && !left)
    problems.push(`${answers.length} answers to ${expected} requests`);
  if (answers.length > expected && end !== "incomplete") problems.push("more answers than requests");
  return problems;
}

/** How many executions are not what these requests ask for, each of them once: their answers came too late for who asked. */
function unlike(requests: readonly ReadRequest[], executions: Iterable<Execution>): number {
  const open = new Set(requests);
  let count = 0;
  for (const execution of executions) {
    const meant = [...open].find((request) => differences(execution, request).length === 0);
    if (meant === undefined) count += 1;
    else open.delete(meant);
  }
  return count;
}

/** An answer of the edge itself. */
function problemsOfOwn(answer: RawAnswer, request: ReadRequest | undefined, isLast: boolean): string[] {
  const { status } = answer;
  const problems: string[] = [];
  const found = request === undefined ? undefined : asForwarded(request);
  if (status === 404 && found?.isHello === true) problems.push("404 for the function that there is");
  if (status >= 500 && status !== 501 && status !== 505) problems.push(`${status} for what a client wrote`);
  if (CLOSING.has(status)) {
    if (!isLast) problems.push(`an answer after ${status}`);
    if (answerHeader(answer, "connection") !== "close") problems.push(`${status} without Connection: close`);
  } else if (request === undefined) problems.push(`${status} to what is no request`);
  return problems;
}

function problemsOfExecution(
  i: number,
  number: string,
  execution: Execution | undefined,
  request: ReadRequest,
): string[] {
  if (execution === undefined) return [`answer ${i} is execution ${number}, which was not this client's`];
  return differences(execution, request).map((problem) => `request ${i}: ${problem}`);
}

function differences(execution: Execution, request: ReadRequest): string[] {
  const problems: string[] = [];
  const expected = asForwarded(request);
  if (!request.whole) problems.push("executed before it was whole");
  if (!expected.isHello) problems.push("executed by another function");
  if (execution.method !== request.method) problems.push(`method ${execution.method} for ${request.method}`);
  if (execution.target !== expected.target)
    problems.push(`target ${execution.target} for ${expected.target}`);
  if (!execution.body.equals(request.body)) {
    problems.push(`a body of ${execution.body.length} bytes for one of ${request.body.length}`);
  }
  const hosts = valuesOf(execution.headers, "host").join();
  if (hosts !== valuesOf(request.headers, "host").join()) problems.push(`host ${hosts}`);
  const seen = JSON.stringify(clientsOwn(execution.headers));
  const said = JSON.stringify(expected.headers);
  if (seen !== said) problems.push(`headers ${seen} for ${said}`);
  const framings = execution.framing.length;
  if (framings > 1 || (request.body.length > 0 && framings !== 1)) {
    problems.push(`${framings} framing headers for a body of ${request.body.length} bytes`);
  }
  return problems;
}

/** Set by the edge whatever the client said. */
const ASSERTED =
  /^(host|content-length|forwarded|max-forwards|via|x-real-ip|x-request-id|x-call-id|x-start-time|x-forwarded-.*)$/;
/** For one hop. */
const HOP =
  /^(connection|keep-alive|proxy-connection|proxy-authenticate|proxy-authorization|te|trailer|transfer-encoding|upgrade|http2-settings|expect)$/;

/** What a function is to see of a request: path and headers in the form that README.md and headers.ts document. */
function asForwarded({ method, version, target, headers }: ReadRequest): {
  target: string;
  headers: string[];
  /** For the one function there is, `alice/hello`. */
  isHello: boolean;
} {
  const hosts = valuesOf(headers, "host");
  const options = valuesOf(headers, "connection").flatMap((value) => value.split(","));
  const named = new Set(options.map((option) => option.trim().toLowerCase()));
  const decision = decide({ method, version, host: hosts.length === 1 ? hosts[0] : undefined, target });
  const own = clientsOwn(headers).filter((line) => !named.has(line.slice(0, line.indexOf(":"))));
  if (decision.kind !== "function") return { target: `(${decision.kind})`, headers: own, isHello: false };
  const isHello = decision.owner === "alice" && decision.function === "hello";
  return { target: decision.path, headers: own, isHello };
}

function clientsOwn(headers: readonly string[]): string[] {
  const lines: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] ?? "").toLowerCase();
    if (!HOP.test(name) && !ASSERTED.test(name)) lines.push(`${name}:${headers[i + 1]}`);
  }
  // Lines of one name keep their order; how names stand to each other means nothing (RFC 9110 §5.3).
  return lines.toSorted((a, b) => compare(a.slice(0, a.indexOf(":")), b.slice(0, b.indexOf(":"))));
}

function valuesOf(headers: readonly string[], name: string): string[] {
  return headers.filter((_, i) => i % 2 === 1 && headers[i - 1]?.toLowerCase() === name);
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
