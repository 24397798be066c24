import { SESSION_COOKIE } from "@openfaas-cloud/shared/session.ts";
import { TestPlatform } from "../../../test/support/platform.ts";
import { type Files, handlerSaying, TestRepository } from "../../../test/support/repository.ts";
import { temporaryFolder } from "../../../test/support/temporary-folder.ts";
import type { BenchOptions } from "../options.ts";
import { getProgram, type Program } from "../programs.ts";
import type { Figure, Report } from "../report.ts";
import { GREETER, GREETING, LARGE_BODIES, MIXED, PRIVATE, slowToBuild, WEBSOCKET } from "./functions.ts";
import { runK6 } from "./run.ts";
import type { K6Result } from "./summary.ts";

const SECONDS = 20;
const RATE = 500;
/** Where pushes or builds go on as well, on the same cores. */
const RATE_BESIDE_WORK = 200;
const BUILDS = 2;

type Bench = (options: BenchOptions) => Promise<Report>;

interface Stage extends AsyncDisposable {
  readonly platform: TestPlatform;
  readonly repository: TestRepository;
  /** `http://alice.localhost:<port>` */
  readonly base: string;
}

/** By the name that `npm run bench -- <name>` knows them under. Each starts the platform and pushes what its script calls. */
export const K6_BENCHES: Readonly<Record<string, Bench>> = {
  "k6-invoke": simple("invoke", GREETER, ({ base }) => ({
    URL: `${base}/hello`,
    ANSWER: GREETING,
    RATE: String(RATE),
  })),
  "k6-saturate": simple("saturate", GREETER, ({ base }) => ({ URL: `${base}/hello`, ANSWER: GREETING })),
  "k6-signed-in": simple("signed-in", PRIVATE, async ({ base, platform }) => ({
    URL: `${base}/private`,
    ANSWER: GREETING,
    RATE: String(RATE),
    TOKEN: await sessionToken(platform),
  })),
  "k6-mixed": simple("mixed", MIXED, ({ base }) => ({ BASE: base, RATE: String(RATE) })),
  "k6-websocket": simple("websocket", WEBSOCKET, ({ base }) => ({ URL: `${base}/echo` }), ["go"]),
  "k6-large-bodies": simple("large-bodies", LARGE_BODIES, ({ base }) => ({ BASE: base })),
  "k6-deploys": deploys,
  "k6-builds": builds,
};

function simple(
  script: string,
  files: Files,
  settings: (stage: Stage) => Promise<Record<string, string>> | Record<string, string>,
  needs: readonly Program[] = [],
): Bench {
  return async ({ seconds = SECONDS }) => {
    for (const program of ["k6" as const, ...needs]) getProgram(program);
    await using stage = await setUp(files);
    const result = await runK6({
      script,
      title: script,
      settings: { SECONDS: String(seconds), ...(await settings(stage)) },
    });
    return { bench: `k6-${script}`, ...result };
  };
}

/** Pushes of new revisions, one after the other, while the function is called at a fixed rate. */
async function deploys({ seconds = SECONDS }: BenchOptions): Promise<Report> {
  getProgram("k6");
  await using stage = await setUp(GREETER);
  let pushes = 0;
  const result = await whileRunning(invoke(stage, "during pushes", seconds), async () => {
    // The same answer, so that every answer can be checked; another handler, so that every push is a new revision.
    const changed = `${handlerSaying(GREETING)}// ${pushes}\n`;
    await push(stage.repository, { "hello/handler.js": changed });
    pushes += 1;
  });
  return { bench: "k6-deploys", ...result, figures: [...result.figures, count("pushes meanwhile", pushes)] };
}

/** The same load without and with builds beside it. */
async function builds({ seconds = SECONDS }: BenchOptions): Promise<Report> {
  getProgram("k6");
  await using stage = await setUp(GREETER);
  const idle = await invoke(stage, "idle", seconds);
  let finished = 0;
  await using stack = new AsyncDisposableStack();
  const authors: { repository: TestRepository; name: string }[] = [];
  for (let i = 0; i < BUILDS; i++) {
    const name = `slow-${i}`;
    authors.push({ name, repository: stack.use(await TestRepository.create(stage.platform, name, {})) });
  }
  const beside = await whileRunning(invoke(stage, "beside builds", seconds), async () => {
    await Promise.all(
      authors.map(async ({ repository, name }) => {
        await push(repository, slowToBuild(name, `build ${finished}`));
        finished += 1;
      }),
    );
  });
  return {
    bench: "k6-builds",
    figures: [...idle.figures, ...beside.figures, count("builds meanwhile", finished)],
    failures: [...idle.failures, ...beside.failures],
  };
}

function invoke({ base }: Stage, title: string, seconds: number): Promise<K6Result> {
  const settings = {
    URL: `${base}/hello`,
    ANSWER: GREETING,
    RATE: String(RATE_BESIDE_WORK),
    SECONDS: String(seconds),
  };
  return runK6({ script: "invoke", title, settings });
}

/** Does something again and again until what runs has come to its end. */
async function whileRunning<T>(running: Promise<T>, work: () => Promise<void>): Promise<T> {
  let over = false;
  const ended = running.finally(() => {
    over = true;
  });
  const working = (async () => {
    while (!over) await work();
  })();
  const [result] = await Promise.all([ended, working]);
  return result;
}

async function setUp(files: Files): Promise<Stage> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await temporaryFolder());
  // The supervisor's own default is "warn", without a line for each request.
  const platform = stack.use(
    await TestPlatform.start({ data: folder.path, environment: { LOG_LEVEL: "info" } }),
  );
  const repository = stack.use(await TestRepository.create(platform, "bench", files));
  await push(repository, {});
  const owned = stack.move();
  return {
    platform,
    repository,
    base: platform.functionUrl("").replace(/\/$/, ""),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function push(repository: TestRepository, files: Files): Promise<void> {
  const { code, output } = await repository.push(files);
  if (code !== 0) throw new Error(`git push failed:\n${output}`);
}

/** What a person's browser has in its cookie. */
async function sessionToken(platform: TestPlatform): Promise<string> {
  const { headers, status } = await platform.call("mutation", "session.signIn", {
    token: platform.ready.token,
  });
  const cookie = headers["set-cookie"]?.find((each) => each.startsWith(`${SESSION_COOKIE}=`));
  const [, token] = /=([^;]+)/.exec(cookie ?? "") ?? [];
  if (token === undefined) throw new Error(`signing in gave no session: ${status}`);
  return token;
}

function count(name: string, value: number): Figure {
  return { name, unit: "count", values: { count: value } };
}
