import { expect, test } from "vitest";
import { FeedServer, route } from "../support/feed-server.ts";
import { Canary } from "./support/canary.ts";
import { conformanceProbes, FOLLOW_UP, outcomeOf, type Probe } from "./support/conformance-probes.ts";
import { addressOf, converse, forEachOf } from "./support/conversation.ts";
import { startEdgeProcess } from "./support/edge-process.ts";
import { framingCorpus, transferEncodingMutations } from "./support/framing-corpus.ts";
import { LANES, type Lane } from "./support/lanes.ts";
import { readStream } from "./support/llhttp-oracle.ts";
import { RecordingUpstream } from "./support/recording-upstream.ts";
import { problemsOf } from "./support/verdict.ts";

const AT_ONCE = 64;
const MAX_SHOWN = 20;

/** An edge before a function that reads as loosely as functions do, and a second client of that function. */
async function startWorld(lane: Lane) {
  await using stack = new AsyncDisposableStack();
  const upstream = stack.use(await new RecordingUpstream({ keepBytes: true }).listen());
  const feed = stack.use(await new FeedServer([route("alice/hello", [upstream.url])]).listen());
  const edge = stack.use(await startEdgeProcess(feed.origin, lane));
  const canary = stack.use(new Canary(edge.port));
  const owned = stack.move();
  return { upstream, edge, canary, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

test.each(LANES)("nothing that readers could part ways over gets through (plain lane %s)", async (lane) => {
  await using world = await startWorld(lane);
  const corpus = framingCorpus();
  expect(transferEncodingMutations().length).toBeGreaterThanOrEqual(1_768);
  expect(corpus.length).toBeGreaterThanOrEqual(4_000);

  const wrong: string[] = [];
  let refused = 0;
  await forEachOf(corpus, AT_ONCE, async ({ name, bytes, waits }, i) => {
    const from = addressOf(i);
    const said = Buffer.from(bytes + FOLLOW_UP, "latin1");
    const heard = await converse(world.edge.port, { pieces: [said], from, halfClose: waits === true });
    const executions = world.upstream.of(from);
    if (executions.length === 0) refused += 1;
    const problems = problemsOf({ reading: readStream(said), heard, executions });
    wrong.push(...problems.map((problem) => `${name}: ${problem}`));
  });
  const canaries = await world.canary.stop();
  expect(wrong.slice(0, MAX_SHOWN)).toEqual([]);
  expect(canaries.swapped).toEqual([]);
  expect(canaries.answered).toBeGreaterThan(100);
  expect(world.upstream.disagreements()).toEqual([]);
  expect(world.edge.complaints()).toBe("");
  process.stdout.write(
    `goal G01: plain lane ${lane}: ${corpus.length} items, ${refused} refused, 0 desyncs, ` +
      `${canaries.answered} canaries, 0 swapped\n`,
  );
});

test.each(LANES)("what the standard demands of a gateway is kept (plain lane %s)", async (lane) => {
  await using world = await startWorld(lane);
  const probes = conformanceProbes();
  const scored = probes.filter(({ level }) => level !== "MAY");
  const demands = scored.filter(({ level }) => level === "MUST");
  expect(probes.length).toBeGreaterThanOrEqual(215);
  expect(demands.length).toBeGreaterThanOrEqual(113);

  const failed: { probe: Probe; problem: string }[] = [];
  await forEachOf(probes, AT_ONCE, async (probe, i) => {
    const from = addressOf(i);
    const said = Buffer.from(probe.bytes + FOLLOW_UP, "latin1");
    const heard = await converse(world.edge.port, { pieces: [said], from });
    const problem = probe.check(outcomeOf(said, heard, world.upstream.of(from)));
    if (problem !== undefined) failed.push({ probe, problem });
  });
  const broken = (level: Probe["level"]): string[] =>
    failed
      .filter(({ probe }) => probe.level === level)
      .map(({ probe, problem }) => `${probe.name}: ${problem}`);
  expect(broken("MUST")).toEqual([]);
  const kept = scored.length - failed.filter(({ probe }) => probe.level !== "MAY").length;
  expect(kept / scored.length, broken("SHOULD").join("\n")).toBeGreaterThanOrEqual(0.95);
  process.stdout.write(
    `goal G01: plain lane ${lane}: ${demands.length}/${demands.length} MUST, ${kept}/${scored.length} scored` +
      `${broken("SHOULD")
        .map((line) => `; ${line}`)
        .join("")}\n`,
  );
});
