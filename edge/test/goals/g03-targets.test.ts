import { expect, test } from "vitest";
import { findTarget, isInternalPath, type Target } from "../../src/target.ts";
import { FeedServer, route } from "../support/feed-server.ts";
import { answerHeader, type RawAnswer, readAnswers } from "./support/answers.ts";
import { addressOf, converse, forEachOf } from "./support/conversation.ts";
import { startEdgeProcess } from "./support/edge-process.ts";
import { LANES } from "./support/lanes.ts";
import { readStream } from "./support/llhttp-oracle.ts";
import { Random } from "./support/random.ts";
import { headerOf, RecordingUpstream } from "./support/recording-upstream.ts";
import { SEED, size } from "./support/size.ts";
import { TargetGrammar } from "./support/target-grammar.ts";
import { decide, type ModelDecision, type ModelLine } from "./support/target-model.ts";

const TARGETS = size(100_000, 1_000_000);
/** In each lane, over sockets. */
const SENT = size(20_000, 200_000);
const AT_ONCE = 16;
const MAX_ON_CONNECTION = 8;
const MAX_SHOWN = 10;
const DOMAINS = { functions: "fn.test", system: "console.test" };

test("what a target is found to be is what the contract says it is", () => {
  const grammar = new TargetGrammar(new Random(SEED));
  const kinds = new Map<string, number>();
  const wrong: unknown[] = [];
  for (let i = 0; i < TARGETS && wrong.length < MAX_SHOWN; i++) {
    const line = grammar.next();
    const found = findTarget({ ...line, httpVersion: line.version }, DOMAINS);
    const decided = decisionOf(found);
    const expected = decide(line);
    if (JSON.stringify(decided) !== JSON.stringify(expected)) wrong.push({ line, decided, expected });
    else if (!isFinal(line, found)) wrong.push({ line, decided, problem: "read once more it is another" });
    kinds.set(found.kind, (kinds.get(found.kind) ?? 0) + 1);
  }
  expect(wrong, `GOAL_SEED=${SEED}`).toEqual([]);
  for (const kind of ["function", "owner", "system", "home", "unknown-host", "refused"])
    expect(kinds.get(kind), kind).toBeGreaterThan(TARGETS / 1_000);
  expect(kinds.get("function")).toBeGreaterThan(TARGETS / 4);
  process.stdout.write(
    `goal G03: ${TARGETS} targets, ${kinds.get("function")} of functions, 0 differences, seed ${SEED}\n`,
  );
});

test.each(LANES)("what is decided is what is asked of whom, by whoever may (plain lane %s)", async (lane) => {
  await using world = await startWorld();
  await using edge = await startEdgeProcess(world.feed.origin, lane);
  const grammar = new TargetGrammar(new Random(SEED));
  const random = new Random(SEED + 1);
  const executedOf = new Map<string, number>();
  const wrong: string[] = [];
  let sent = 0;
  function* connections(): Generator<Asked[]> {
    while (sent < SENT && wrong.length < MAX_SHOWN) {
      const asked = Array.from({ length: random.between(1, MAX_ON_CONNECTION + 1) }, () =>
        askedOf(grammar.next(), random.chance(0.5)),
      );
      sent += asked.length;
      yield asked;
    }
  }
  await forEachOf(connections(), AT_ONCE, async (asked, i) => {
    const from = addressOf(i);
    const said = Buffer.from(asked.map(({ bytes }) => bytes).join("") + LAST, "latin1");
    const heard = await converse(edge.port, { pieces: [said], from });
    // What is no request to llhttp is no HEAD either.
    const methods = readStream(said).requests.map(({ method }) => method);
    const read = readAnswers(heard.received, methods);
    const executed = world.executedFor(from);
    for (const { name } of executed) executedOf.set(name, (executedOf.get(name) ?? 0) + 1);
    const problems = problemsOf(asked, methods.length, read.answers, executed);
    if (!heard.closed || read.rest !== "") problems.push("not closed, or within an answer");
    wrong.push(...problems.map((problem) => `${problem} in ${JSON.stringify(said.toString("latin1"))}`));
  });
  expect(wrong, `GOAL_SEED=${SEED}`).toEqual([]);
  expect(edge.complaints()).toBe("");
  for (const name of Object.keys(world.functions)) {
    if (name === "bob/secret") expect(executedOf.get(name), name).toBeUndefined();
    else expect(executedOf.get(name), name).toBeGreaterThan(SENT / 500);
  }
  const executions = [...executedOf.values()].reduce((sum, count) => sum + count);
  process.stdout.write(
    `goal G03: plain lane ${lane}: ${sent} targets sent, ${executions} forwarded, 0 differences, seed ${SEED}\n`,
  );
});

/** Of Alice, who is asked about once and remembered. */
const TOKEN = "ofc_token-of-alice-0123456789";
const LAST = "GET /hello/last HTTP/1.1\r\nHost: alice.fn.test\r\nConnection: close\r\n\r\n";

interface Asked {
  readonly line: ModelLine;
  readonly signedIn: boolean;
  readonly bytes: string;
}

interface Executed {
  /** `alice/hello` */
  readonly name: string;
  readonly target: string;
  readonly host: string | undefined;
}

async function startWorld() {
  await using stack = new AsyncDisposableStack();
  const start = async (): Promise<RecordingUpstream> =>
    stack.use(await new RecordingUpstream({ keepBytes: false }).listen());
  const functions = {
    "alice/hello": await start(),
    "alice/secret": await start(),
    "bob/hello": await start(),
    "bob/secret": await start(),
  } as const;
  const feed = stack.use(
    new FeedServer([
      route("alice/hello", [functions["alice/hello"].url]),
      route("alice/secret", [functions["alice/secret"].url], { access: "members" }),
      route("bob/hello", [functions["bob/hello"].url]),
      route("bob/secret", [functions["bob/secret"].url], { access: "members" }),
    ]),
  );
  await feed.listen();
  feed.knowToken(TOKEN);
  const owned = stack.move();
  return {
    feed,
    functions,
    /** Forgets it as well. */
    executedFor: (client: string): Executed[] =>
      Object.entries(functions).flatMap(([name, upstream]) => {
        const executions = upstream.of(client);
        upstream.forget(client);
        return executions.map(({ target, headers }) => ({
          name,
          target,
          host: headerOf(headers, "x-forwarded-host"),
        }));
      }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function askedOf(line: ModelLine, signedIn: boolean): Asked {
  const { method, target, version, host } = line;
  const hostLine = host === undefined ? "" : `Host: ${host}\r\n`;
  const authorization = signedIn ? `Authorization: Bearer ${TOKEN}\r\n` : "";
  return { line, signedIn, bytes: `${method} ${target} HTTP/${version}\r\n${hostLine}${authorization}\r\n` };
}

/** Request by request, up to the one behind which the connection ends. `read`: of how many llhttp reads the head. */
function problemsOf(
  asked: readonly Asked[],
  read: number,
  answers: readonly RawAnswer[],
  executed: readonly Executed[],
): string[] {
  const problems: string[] = [];
  const expected: Executed[] = [];
  let at = 0;
  for (const { line, signedIn } of asked) {
    const answer = answers[at++];
    const decision = at > read ? NO_REQUEST : decide({ ...line, host: line.host?.trim() });
    if (answer === undefined) return [...problems, `no answer to ${JSON.stringify(line)}`];
    const due = dueTo(decision, signedIn);
    if (!due.statuses.includes(answer.status))
      problems.push(`${answer.status} where ${JSON.stringify(decision)}`);
    if (due.executed !== undefined)
      expected.push({ name: due.executed, target: due.path, host: line.host?.trim() });
    if (answerHeader(answer, "x-target") !== (due.executed === undefined ? undefined : due.path))
      problems.push(`asked for ${answerHeader(answer, "x-target")} where ${JSON.stringify(decision)}`);
    if (due.isSystem && answer.status === 200 && line.method !== "HEAD") {
      const told = `control plane: ${line.method} ${due.path}`;
      if (answer.body !== told) problems.push(`"${answer.body}" where "${told}"`);
    }
    if (
      decision.kind === "refused" ||
      decision.kind === "no-request" ||
      line.version === "1.0" ||
      answer.headers.includes("close")
    ) {
      if (answers.length > at) problems.push("answers behind the last");
      return [...problems, ...differences(expected, executed)];
    }
  }
  expected.push({ name: "alice/hello", target: "/last", host: "alice.fn.test" });
  return [...problems, ...differences(expected, executed)];
}

/** The edge's parser gives up on it, before anything is decided. */
const NO_REQUEST = { kind: "no-request" } as const;

interface Due {
  readonly statuses: readonly number[];
  readonly executed: string | undefined;
  readonly path: string;
  readonly isSystem: boolean;
}

function dueTo(decision: ModelDecision | typeof NO_REQUEST, signedIn: boolean): Due {
  const none = { executed: undefined, path: "", isSystem: false };
  switch (decision.kind) {
    case "no-request":
      return { ...none, statuses: [400, 414, 505] };
    case "refused":
      return { ...none, statuses: [decision.status] };
    case "home":
      return { ...none, statuses: [307] };
    case "owner":
    case "unknown-host":
      return { ...none, statuses: [404] };
    case "system": {
      const { path } = decision;
      return { ...none, path, isSystem: true, statuses: isInternalPath(path) ? [404] : [200, 307] };
    }
    case "function": {
      const { owner, function: name, path } = decision;
      const executed = `${owner}/${name}`;
      const isPublic = executed === "alice/hello" || executed === "bob/hello";
      if (isPublic || (executed === "alice/secret" && signedIn))
        return { executed, path, isSystem: false, statuses: [200] };
      if (executed === "alice/secret") return { ...none, statuses: [401] };
      if (executed === "bob/secret") return { ...none, statuses: [signedIn ? 403 : 401] };
      return { ...none, statuses: [404] };
    }
  }
}

function differences(expected: readonly Executed[], executed: readonly Executed[]): string[] {
  const sorted = (list: readonly Executed[]): string =>
    list
      .map((one) => JSON.stringify(one))
      .toSorted()
      .join();
  return sorted(expected) === sorted(executed)
    ? []
    : [`executed ${sorted(executed)} where ${sorted(expected)} was due`];
}

function decisionOf(target: Target): ModelDecision {
  switch (target.kind) {
    case "function": {
      const { kind, owner, function: name, path } = target;
      return { kind, owner, function: name, path };
    }
    case "owner":
      return { kind: target.kind, owner: target.owner };
    case "system":
      return { kind: target.kind, path: target.path };
    case "home":
    case "unknown-host":
      return { kind: target.kind };
    case "refused":
      return { kind: target.kind, status: target.refusal.status as 400 | 405 | 414 | 505 };
  }
}

/** Nothing is left in a path that somebody behind us could resolve once more. */
function isFinal(line: ModelLine, found: Target): boolean {
  if (found.kind !== "function" || found.path.length > 8_000) return true;
  const again = findTarget(
    { method: "GET", httpVersion: "1.1", host: line.host, target: `/f${found.path}` },
    DOMAINS,
  );
  return again.kind === "function" && again.function === "f" && again.path === found.path;
}
