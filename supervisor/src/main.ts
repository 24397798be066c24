import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { announcement, announcementForPrograms } from "./announce.ts";
import { parseOptions, USAGE } from "./options.ts";
import { Supervisor } from "./supervisor.ts";

/** A terminal's Ctrl-C comes twice through npm, from the terminal and passed on; only a later one is a second wish. */
const SAME_WISH_MS = 500;

process.exitCode = await main();

async function main(): Promise<number> {
  try {
    requireNode(24, 19);
    const options = parseOptions(process.argv.slice(2));
    if (options.help) {
      process.stdout.write(USAGE);
      return 0;
    }
    const say = (line: string) => void (options.json ? process.stderr : process.stdout).write(`${line}\n`);
    const supervisor = new Supervisor(options, say);
    const stopped = stopWhenAsked(supervisor, say);
    try {
      const platform = await supervisor.start();
      process.stdout.write(options.json ? announcementForPrograms(platform) : announcement(platform));
      await stopped;
      return 0;
    } catch (error) {
      const asked = supervisor.stopping;
      await supervisor.stop();
      if (asked) return 0;
      throw error;
    }
  } catch (error) {
    if (!(error instanceof KnownError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return error.kind === "usage" ? 2 : 1;
  }
}

function requireNode(major: number, minor: number): void {
  const { node } = process.versions;
  const [isMajor = 0, isMinor = 0] = node.split(".").map(Number);
  if (isMajor > major || (isMajor === major && isMinor >= minor)) return;
  throw new KnownError(
    "node-too-old",
    `Node ${major}.${minor} or later is needed, and this is ${node}. \`npm start\` brings its own.`,
  );
}

/** Resolves when a signal asked for the end and everything has ended. */
function stopWhenAsked(supervisor: Supervisor, say: (line: string) => void): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let askedAt: number | undefined;
  const stop = () => {
    if (askedAt === undefined) {
      askedAt = performance.now();
      say("Stopping …");
      supervisor.stop().then(resolve, reject);
    } else if (performance.now() - askedAt > SAME_WISH_MS) {
      supervisor.kill();
    }
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, stop);
  // An npm that is killed passes nothing on, and a shell between them nothing at all: neither may leave this process behind.
  if (process.env["npm_lifecycle_event"] !== undefined) {
    const parent = process.ppid;
    setInterval(() => process.ppid !== parent && askedAt === undefined && stop(), 1_000).unref();
  }
  return promise;
}
