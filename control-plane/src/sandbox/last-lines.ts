const KEPT_BYTES = 8 * 1024;
/** Escape sequences of terminals (ECMA-48 §5.4), and control characters. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const CONTROL = /\u001b\[[0-?]*[ -/]*[@-~]|[\u0000-\u0008\u000b-\u001f\u007f]/g;
const LINE_LENGTH = 300;

/** The end of an output that may be endless, for messages that quote it. */
export class LastLines {
  #tail: Buffer = Buffer.alloc(0);

  add(chunk: Uint8Array): void {
    this.#tail = Buffer.concat([this.#tail, chunk.subarray(-KEPT_BYTES)]).subarray(-KEPT_BYTES);
  }

  clear(): void {
    this.#tail = Buffer.alloc(0);
  }

  last(count: number): string[] {
    const lines = this.#tail.toString("utf8").replaceAll(CONTROL, "").split("\n");
    return lines
      .map((line) => line.trimEnd().slice(0, LINE_LENGTH))
      .filter(Boolean)
      .slice(-count);
  }

  /** The last line that says something: neither a rule nor where npm keeps its own log. */
  lastMeaningful(): string | undefined {
    const noise = /^npm (error|notice|warn)\s*(A complete log|code |$)|debug-0\.log/i;
    return this.last(100).findLast((line) => /[A-Za-z0-9]/.test(line) && !noise.test(line));
  }
}
