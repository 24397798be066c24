import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { z } from "zod";
import { Reply } from "./part.ts";

/** A part of a goal's world whose work must not be done on the edge's or the test's time. */
export interface PartProcess extends AsyncDisposable {
  /** Has a command done, and gives what came of it. Rejects when the part has ended. */
  ask<T>(name: string, options: unknown, result: z.ZodType<T>): Promise<T>;
}

/** Forks a file of this folder, which calls `servePart`. */
export function startPart(file: `${string}-part.ts`): PartProcess {
  const child = fork(join(import.meta.dirname, file), {
    execArgv: [],
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const exited = once(child, "exit");
  const waiting = new Map<number, (result: unknown) => void>();
  let count = 0;
  child.on("message", (message) => {
    const { id, result } = Reply.parse(message);
    waiting.get(id)?.(result);
    waiting.delete(id);
  });
  const ended = exited.then(([code, signal]) => {
    throw new Error(`${file} ended by itself: ${code ?? signal}`);
  });
  ended.catch(() => undefined);
  return {
    async ask(name, options, schema) {
      count += 1;
      const { promise, resolve } = Promise.withResolvers<unknown>();
      waiting.set(count, resolve);
      child.send({ id: count, name, options });
      return schema.parse(await Promise.race([promise, ended]));
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}
