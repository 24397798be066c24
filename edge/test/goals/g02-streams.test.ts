import { expect, test } from "vitest";
import { fieldKind } from "../../src/field-kinds.ts";
import { fieldLines } from "../../src/plain-lane/header-lines.ts";
import { parseRequestHead } from "../../src/plain-lane/request-head.ts";
import { isPassed } from "../../src/request-fields.ts";
import { FeedServer, route } from "../support/feed-server.ts";
import { addressOf, converse, forEachOf } from "./support/conversation.ts";
import { AS_SUPERVISED, startEdgeProcess } from "./support/edge-process.ts";
import { LANES } from "./support/lanes.ts";
import { readRequest } from "./support/llhttp-oracle.ts";
import { Random } from "./support/random.ts";
import { headerOf, RecordingUpstream } from "./support/recording-upstream.ts";
import { RequestGrammar } from "./support/request-grammar.ts";
import { type RequestStream, StreamGrammar } from "./support/request-streams.ts";
import { SEED, size } from "./support/size.ts";
import { problemsOf } from "./support/verdict.ts";

const REQUESTS = size(50_000, 1_000_000);
const HEADS = size(500_000, 5_000_000);
const AT_ONCE = 32;
/** Before memory is looked at for the first time: code is compiled, and pools and the young generation are filled by then. */
const WARM_UP_REQUESTS = 15_000;
const MAX_GROWTH_BYTES = 50 * 1024 * 1024;
const MAX_SHOWN = 10;
const MAX_TRIED_BYTES = 1_024;

test.each(LANES)("what is forwarded is what a standard reader reads (plain lane %s)", async (lane) => {
  await using upstream = await new RecordingUpstream({ keepBytes: false }).listen();
  await using feed = await new FeedServer([route("alice/hello", [upstream.url])]).listen();
  await using edge = await startEdgeProcess(feed.origin, lane, AS_SUPERVISED);
  const grammar = new StreamGrammar(new Random(SEED));

  const wrong: string[] = [];
  let sent = 0;
  let executed = 0;
  let refusedStreams = 0;
  let warm: number | undefined;
  function* streams(): Generator<RequestStream> {
    while (sent < REQUESTS && wrong.length < MAX_SHOWN) {
      const stream = grammar.next();
      sent += stream.requests;
      yield stream;
    }
  }
  await forEachOf(streams(), AT_ONCE, async ({ pieces, reading, incomplete }, i) => {
    const from = addressOf(i);
    const heard = await converse(edge.port, { pieces, from, halfClose: incomplete });
    const executions = upstream.of(from);
    const problems = problemsOf({ reading, heard, executions, left: incomplete });
    const said = JSON.stringify(pieces.map((piece) => piece.toString("latin1")));
    wrong.push(...problems.map((problem) => `${problem} in ${said}`));
    executed += executions.length;
    if (reading.end === "refused") refusedStreams += 1;
    upstream.forget(from);
    if (sent > WARM_UP_REQUESTS) warm ??= await edge.residentBytes();
  });
  expect(wrong, `GOAL_SEED=${SEED}`).toEqual([]);
  expect(edge.complaints()).toBe("");
  // Neither all refused nor all served, or this would show nothing.
  expect(executed).toBeGreaterThan(sent / 5);
  expect(refusedStreams).toBeGreaterThan(sent / 100);
  const growth = (await edge.residentBytes()) - (warm ?? 0);
  expect(growth).toBeLessThanOrEqual(MAX_GROWTH_BYTES);
  process.stdout.write(
    `goal G02: plain lane ${lane}: ${sent} requests, ${executed} executed, ${refusedStreams} streams refused, ` +
      `0 differences, memory ${Math.round(growth / 1024 / 1024)} MiB up, seed ${SEED}\n`,
  );
});

test("the plain lane takes only heads that llhttp takes, and reads the same from them", () => {
  const grammar = new RequestGrammar(new Random(SEED), 0.6);
  let taken = 0;
  for (let i = 0; i < HEADS; i++) {
    const { bytes } = grammar.next();
    const end = bytes.indexOf("\r\n\r\n");
    const plain = end === -1 ? undefined : parseRequestHead(bytes.slice(0, end + 4));
    if (plain === undefined) continue;
    taken += 1;
    const first = readRequest(bytes.slice(0, end + 4));
    const reference = first.kind === "incomplete" ? first.head : first;
    const repeat = `GOAL_SEED=${SEED}: ${JSON.stringify(bytes)}`;
    if (reference === undefined || "error" in reference)
      throw new Error(`llhttp refuses what is taken: ${repeat}`);
    expect({ method: plain.method, target: plain.rawTarget, headers: plain.rawHeaders }, repeat).toEqual({
      method: reference.method,
      target: reference.target,
      headers: reference.headers,
    });
    expect(reference.version, repeat).toBe("1.1");
    expect(reference.upgrade, repeat).toBe(false);
    expect(reference.keepAlive, repeat).toBe(!plain.head.connectionOptions.includes("close"));
    expect(fieldLines(plain.passed, 0), repeat).toEqual(passedOf(reference.headers));
    expect(plain.head.host, repeat).toBe(headerOf(reference.headers, "host"));
    const length = plain.head.contentLength ?? 0;
    expect(length, repeat).toBe(Number(headerOf(reference.headers, "content-length") ?? 0));
    // By the head alone it is whole or not; with a body of that length it is, and with a byte less it is not.
    expect(first.kind === "request", repeat).toBe(length === 0);
    if (length === 0 || length > MAX_TRIED_BYTES) continue;
    const body = "x".repeat(length);
    expect(readRequest(bytes.slice(0, end + 4), body).kind, repeat).toBe("request");
    expect(readRequest(bytes.slice(0, end + 4), body.slice(1)).kind, repeat).toBe("incomplete");
  }
  expect(taken).toBeGreaterThan(HEADS / 10);
  process.stdout.write(
    `goal G02: ${HEADS} heads, ${taken} taken by the plain lane, 0 read otherwise by llhttp\n`,
  );
});

/** Lines that an upstream is sent as they came. */
function passedOf(headers: readonly string[]): string[] {
  return headers.filter((_, i) => isPassed(fieldKind(headers[i - (i % 2)] ?? "")));
}
