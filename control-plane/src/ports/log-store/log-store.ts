/** What a log belongs to. A run's log ends with the run; a function's goes on over all its revisions. */
export type LogStream =
  | { readonly kind: "run"; readonly runId: string }
  | { readonly kind: "function"; readonly functionId: string };

/** Takes what a stage, a build or a replica prints. Text may hold several lines, part of a line, and any bytes. */
export interface LogSink {
  /** `source` names who speaks: a stage (`checkout`), `build hello`, or a replica (`hello-1`). Never awaits the disk. */
  write(source: string, text: string | Uint8Array): void;
}

export interface LogLine {
  /** When the platform read it, milliseconds since the epoch. */
  readonly at: number;
  readonly source: string;
  /** Without its line end; as printed, control characters included: whoever shows it sanitises it. At most 16 KiB. */
  readonly text: string;
}

export interface LogPage {
  readonly lines: readonly LogLine[];
  /** Where the next page begins; opaque, survives a restart of the platform. */
  readonly cursor: string;
  /** The stream has ended and this page reaches its end. */
  readonly ended: boolean;
}

/**
 * Keeps the output of runs and functions.
 *
 * Lines of one source stay in order; an unfinished line is kept back until it ends, or reaches 16 KiB, or the stream ends.
 * A run's log keeps its first 1 MiB and its last 3 MiB; a function's keeps its last 16 MiB. What was dropped is one line of
 * source `platform` in its place, which states the exact number of bytes that were printed there, line ends included. A
 * flood costs bounded memory: what cannot be written in time is dropped and counted in the same way (of a run, in that
 * same line). Nothing a writer does ever fails the writer.
 */
export interface LogStore extends AsyncDisposable {
  open(stream: LogStream): LogSink;
  /** No more lines come; followers end after the last one. Resolves when everything is readable. */
  end(stream: LogStream): Promise<void>;
  /**
   * Lines from `cursor` (from the start where absent; the last `tailLines` lines where that is given instead), at most
   * `maxLines` (1,000). A stream nobody wrote to is empty and not ended.
   */
  read(
    stream: LogStream,
    options?: { readonly cursor?: string; readonly tailLines?: number; readonly maxLines?: number },
  ): Promise<LogPage>;
  /** Pages as they come, from `cursor` or the start, until the stream ends or `signal` aborts. Never an empty page. */
  follow(
    stream: LogStream,
    options: { readonly cursor?: string; readonly tailLines?: number; readonly signal: AbortSignal },
  ): AsyncIterable<LogPage>;
  /** Forgets the stream. Absent is fine. */
  remove(stream: LogStream): Promise<void>;
}
