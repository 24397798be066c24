import type { Duplex } from "node:stream";

/** Longest line a hook may send us; a commit's subject can be of any length, and its rest is of no use here. */
const MAX_LINE = 4096;

/**
 * Our end of the descriptor that the hooks of one receive-pack inherit. They run one after the other; each sends a message
 * of lines that ends with an empty one, and then obeys what we say until we tell it to exit.
 */
export interface HookConversation {
  /** The next message, or `undefined` when receive-pack has ended. */
  next(): Promise<readonly string[] | undefined>;
  /** One line of the hook's answer to `keep`. */
  answer(): Promise<string | undefined>;
  /** Shows a line to the person who pushes. Resolves when it is on its way, or when nobody can be told any more. */
  say(line: string): Promise<void>;
  tell(command: "keep" | "stored"): void;
  exit(code: 0 | 1): void;
  /** Resolves when nobody is at the other end any more. */
  readonly closed: Promise<undefined>;
}

export function converse(channel: Duplex): HookConversation {
  const lines = readLines(channel);
  // A hook that was killed takes its end with it; what it was told then no longer matters.
  channel.on("error", () => undefined);
  const closed = new Promise<undefined>((resolve) => channel.once("close", () => resolve(undefined)));

  async function answer(): Promise<string | undefined> {
    const { value, done } = await lines.next();
    return done ? undefined : value;
  }

  return {
    async next() {
      const message: string[] = [];
      for (let line = await answer(); line !== ""; line = await answer()) {
        if (line === undefined) return undefined;
        message.push(line);
      }
      return message;
    },
    answer,
    say: (line) => new Promise((resolve) => channel.write(`say ${line}\n`, () => resolve())),
    tell: (command) => void channel.write(`${command}\n`),
    exit: (code) => void channel.write(`exit ${code}\n`),
    closed,
  };
}

async function* readLines(channel: Duplex): AsyncGenerator<string, void> {
  channel.setEncoding("utf8");
  let line = "";
  try {
    for await (const chunk of channel.iterator({ destroyOnReturn: false }) as AsyncIterable<string>) {
      const parts = chunk.split("\n");
      const rest = parts.pop() ?? "";
      for (const part of parts) {
        yield (line + part).slice(0, MAX_LINE);
        line = "";
      }
      line = (line + rest).slice(0, MAX_LINE);
    }
  } catch {
    // The connection ended in the middle; an unfinished line is no message.
  }
}
