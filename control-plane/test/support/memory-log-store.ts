import type { LogSink, LogStore, LogStream } from "../../src/ports/log-store/log-store.ts";

/** Keeps what is written, whole, for tests to look at. */
export class MemoryLogStore implements Pick<LogStore, "open"> {
  readonly #texts = new Map<string, string>();

  open(stream: LogStream): LogSink {
    const key = stream.kind === "run" ? stream.runId : stream.functionId;
    return {
      write: (_source, text) => void this.#texts.set(key, this.textOf(key) + Buffer.from(text).toString()),
    };
  }

  textOf(id: string): string {
    return this.#texts.get(id) ?? "";
  }
}

/** A sink that counts everything and keeps the first part. */
export class CountingSink implements LogSink {
  bytes = 0;
  text = "";
  readonly sources = new Set<string>();

  write(source: string, text: string | Uint8Array): void {
    this.bytes += text.length;
    this.sources.add(source);
    if (this.text.length < 100_000) this.text += Buffer.from(text).toString();
  }
}
