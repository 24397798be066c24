import { LineCounter, type Node } from "yaml";
import type { Annotation } from "../../ports/source-host/source-host.ts";
import { Rejected } from "../../rejected.ts";
import type { IgnoredKey } from "./ignored-keys.ts";

/** An author mends no more at a time, and has to find them in a push's output. */
const MAX_MISTAKES = 20;
/** Of a file that is made of keys without effect. */
const MAX_NOTICES = 50;

/** What is found while one stack file is read: mistakes and keys without effect, each with its line. */
export class Findings {
  readonly lines = new LineCounter();
  /** Name of the file, at the root of the repository. */
  readonly file: string;
  readonly #ignored: (IgnoredKey & { readonly line: number })[] = [];
  /** What makes the file invalid while the rest of it can still be read. */
  readonly #mistakes: Rejected[] = [];

  constructor(file: string) {
    this.file = file;
  }

  get ignored(): readonly IgnoredKey[] {
    return this.#ignored.map(({ key, reason }) => ({ key, reason }));
  }

  get notices(): readonly Annotation[] {
    return this.#ignored.slice(0, MAX_NOTICES).map(({ key, reason, line }) => ({
      path: this.file,
      line,
      level: "notice",
      message: `${key}: ${reason}.`,
    }));
  }

  /** There may be more mistakes than an author is told of, so that the rest need not be read. */
  get enough(): boolean {
    return this.#mistakes.length > MAX_MISTAKES;
  }

  lineOf(node: Node | undefined | null): number {
    const offset = node?.range?.[0];
    return offset === undefined ? 1 : this.lines.linePos(offset).line;
  }

  ignore(at: Node | undefined, key: string, reason: string): void {
    this.#ignored.push({ key, reason, line: this.lineOf(at) });
  }

  note(at: Node | undefined, what: string): void {
    this.add(this.invalid(at, what));
  }

  add(mistake: Rejected): void {
    if (!this.enough) this.#mistakes.push(mistake);
  }

  /** @throws Rejected with every mistake that was noted, where there is one. */
  throwMistakes(): void {
    if (this.#mistakes.length === 0) return;
    const told = this.#mistakes.slice(0, MAX_MISTAKES);
    const messages = told.map(({ message }) => message);
    if (told.length < this.#mistakes.length)
      messages.push(`There may be more: these are the first ${MAX_MISTAKES}.`);
    throw new Rejected("stack-file-invalid", messages.join("\n"), {
      annotations: [...told.flatMap(({ annotations }) => annotations), ...this.notices],
    });
  }

  invalid(at: Node | undefined | null, what: string): Rejected {
    const offset = at?.range?.[0];
    return offset === undefined ? invalid(this.file, what) : this.invalidAt(offset, what);
  }

  invalidAt(offset: number, what: string): Rejected {
    return invalid(this.file, what, this.lines.linePos(offset).line);
  }
}

/** What is wrong with the file as a whole is shown at its first line. */
export function invalid(file: string, what: string, line?: number): Rejected {
  const place = line === undefined ? file : `${file}, line ${line}`;
  return new Rejected("stack-file-invalid", `${place}: ${what}.`, {
    annotations: [{ path: file, line: line ?? 1, level: "failure", message: `${what}.` }],
  });
}
