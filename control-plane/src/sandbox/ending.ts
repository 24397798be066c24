/** How a sandboxed process ended. */
export interface Ending {
  /** `undefined` where nobody could ask: of a process that another platform started and no sandbox watched. */
  readonly code: number | undefined;
  readonly signal: string | undefined;
  /** Why the platform or the kernel ended it, in words. */
  readonly because: string | undefined;
}

/** How it ended, for people: `exit code 1`, `killed: over its memory limit of 128 MiB`. */
export function describeEnding({ code, signal, because }: Ending): string {
  if (because !== undefined) return `killed: ${because}`;
  if (signal !== undefined) return `killed by ${signal}`;
  return code === undefined ? "ended" : `exit code ${code}`;
}
