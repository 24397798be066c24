import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, openSync, readFileSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { ReadyMessage } from "@openfaas-cloud/shared/process-message.ts";
import { expect, test, vi } from "vitest";
import { LineOutput } from "../src/line-output.ts";
import { CREDENTIAL, FeedServer, route } from "./support/feed-server.ts";
import { call, tempDirectory, until, upstream } from "./support/servers.ts";

const MAIN = join(import.meta.dirname, "../src/main.ts");
const MiB = 1024 * 1024;

function line(n: number): string {
  return `${JSON.stringify({ n, text: "x".repeat(200) })}\n`;
}

function numbersIn(text: string): number[] {
  return text
    .split("\n")
    .filter((each) => each !== "")
    .map((each) => (JSON.parse(each) as { n: number }).n);
}

/** A pipe that has a reader, who has not read yet. */
function fifo(directory: string) {
  const path = join(directory, "fifo");
  execFileSync("mkfifo", [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const descriptor = openSync(path, "w");
  /** What has come, or `undefined` where nothing has. */
  const read = (): Buffer | undefined => {
    const buffer = Buffer.alloc(MiB);
    try {
      return buffer.subarray(0, readSync(reader, buffer));
    } catch {
      return undefined;
    }
  };
  return { descriptor, read, leave: () => closeSync(reader) };
}

test("lines arrive whole, in order, and all of them, the last ones with the end", async () => {
  await using directory = await tempDirectory();
  const path = join(directory.path, "log");
  const descriptor = openSync(path, "a");
  {
    await using output = new LineOutput(descriptor);
    for (let n = 0; n < 50_000; n++) {
      if (n % 2 === 0) output.write(line(n));
      else output.offer(line(n));
      // No faster than the disk, or lines would rightly be dropped.
      if (n % 1_000 === 0) await until(() => statSync(path).size >= (n - 5_000) * line(0).length, "the disk");
    }
    expect(output.droppedLines).toBe(0);
  }
  closeSync(descriptor);
  expect(numbersIn(readFileSync(path, "utf8"))).toEqual(Array.from({ length: 50_000 }, (_, n) => n));
});

test("a line that is alone does not wait for others for long", async () => {
  await using directory = await tempDirectory();
  const path = join(directory.path, "log");
  await using output = new LineOutput(openSync(path, "a"));
  output.write(line(1));
  await until(() => readFileSync(path, "utf8") === line(1), "the line");
});

test("of what a reader is too slow for the newer lines are missing, each is counted, and the edge's own have room", async () => {
  await using directory = await tempDirectory();
  const pipe = fifo(directory.path);
  const output = new LineOutput(pipe.descriptor);
  const offered = 100_000;
  for (let n = 0; n < offered; n++) {
    output.offer(line(n));
    if (n % 1_000 === 0) await nextTurn();
  }
  const dropped = output.droppedLines;
  // 4 MiB at most are held back of the 20 that were offered.
  expect(dropped * line(0).length).toBeGreaterThan(15 * MiB);
  output.write(line(offered));
  expect(output.droppedLines).toBe(dropped);

  let text = "";
  await until(() => {
    for (let piece = pipe.read(); piece !== undefined; piece = pipe.read()) text += piece.toString();
    return text.endsWith(line(offered));
  }, "what was held back");
  expect(numbersIn(text)).toEqual([...Array.from({ length: offered - dropped }, (_, n) => n), offered]);

  // Read again, and nothing is missing any more.
  text = "";
  output.offer(line(1));
  await until(() => {
    text += pipe.read()?.toString() ?? "";
    return text === line(1);
  }, "the next line");
  expect(output.droppedLines).toBe(dropped);
  await output[Symbol.asyncDispose]();
  pipe.leave();
});

test("of several writers to one pipe each line arrives whole, however slowly it is read", async () => {
  await using directory = await tempDirectory();
  const pipe = fifo(directory.path);
  const descriptors = [pipe.descriptor, openSync(join(directory.path, "fifo"), "w")];
  const outputs = descriptors.map((descriptor) => new LineOutput(descriptor, { shared: true }));
  const each = 5_000;
  for (let n = 0; n < each; n++) {
    for (const [i, output] of outputs.entries()) output.write(line(i * each + n));
  }
  let text = "";
  await until(() => {
    for (let piece = pipe.read(); piece !== undefined; piece = pipe.read()) text += piece.toString();
    return text.split("\n").length > each * outputs.length;
  }, "all lines");
  const numbers = numbersIn(text);
  for (let i = 0; i < outputs.length; i++) {
    const own = numbers.filter((n) => Math.floor(n / each) === i);
    expect(own).toEqual(Array.from({ length: each }, (_, n) => i * each + n));
  }
  for (const output of outputs) await output[Symbol.asyncDispose]();
  pipe.leave();
});

test("a reader that is gone costs lines and nothing else", async () => {
  await using directory = await tempDirectory();
  const pipe = fifo(directory.path);
  await using output = new LineOutput(pipe.descriptor);
  pipe.leave();
  output.write(line(0));
  await until(() => output.droppedLines === 1, "the line given up");
  output.write(line(1));
  expect(output.droppedLines).toBe(2);
});

test("a full disk costs the newer lines and nothing else, and the end does not wait for it", async () => {
  const output = new LineOutput(openSync("/dev/full", "w"));
  const lines = 50_000;
  for (let n = 0; n < lines; n++) {
    output.write(line(n));
    if (n % 1_000 === 0) await nextTurn();
  }
  const held = (lines - output.droppedLines) * line(0).length;
  expect(held).toBeLessThan(5 * MiB);
  expect(held).toBeGreaterThan(3 * MiB);
  await output[Symbol.asyncDispose]();
  expect(output.droppedLines).toBe(lines);
});

test.each([
  ["on a full disk", () => openSync("/dev/full", "w")],
  ["in a pipe that nobody reads", () => "pipe" as const],
])("an edge whose log ends %s serves, says what it dropped, and ends when asked", async (_where, open) => {
  await using data = await tempDirectory();
  await using fn = await upstream();
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  const child = spawn(process.execPath, [MAIN], {
    env: {
      EDGE_PORT: "0",
      EDGE_DATA: data.path,
      EDGE_DRAIN_MS: "1000",
      CONTROL_PLANE_URL: feed.origin,
      FEED_CREDENTIAL: CREDENTIAL,
    },
    stdio: ["ignore", open(), "inherit", "ipc"],
  });
  await using _child = {
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) {
        const exited = once(child, "exit");
        child.kill("SIGKILL");
        await exited;
      }
    },
  };
  child.stdout?.pause();
  const [message] = await once(child, "message");
  const { port, adminPort } = ReadyMessage.parse(message);
  await until(async () => (await fetch(`http://127.0.0.1:${adminPort}/readyz`)).status === 200, "a table");
  const path = `/f/${"x".repeat(4_000)}`;
  // More than is held back of the log and than the kernel keeps of a pipe.
  for (let i = 0; i < 1_500; i++) {
    expect((await call(port, "alice.localhost", path)).status).toBe(200);
  }
  const metrics = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text();
  expect(Number(/^ofc_edge_log_lines_dropped_total (\d+)$/m.exec(metrics)?.[1])).toBeGreaterThan(100);
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  let code: unknown;
  void exited.then(([given]) => {
    code = given;
  });
  await until(() => code !== undefined, "the edge to end");
  expect(code).toBe(0);
});

test("while nothing can be written a line now and then costs no more memory than many at once", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  try {
    await using output = new LineOutput(openSync("/dev/full", "w"));
    const before = process.memoryUsage().arrayBuffers;
    for (let n = 0; n < 500; n++) {
      output.write(line(n));
      // As long as a line waits for others, at most.
      vi.advanceTimersByTime(1_000);
      await nextTurn();
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 * MiB);
    expect(output.droppedLines).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});
