import { setTimeout as sleep } from "node:timers/promises";

/** The first truthy value of `look`, which is asked again and again until the deadline. */
export async function eventually<T>(
  what: string,
  look: () => T | Promise<T>,
  { withinMs = 10_000, everyMs = 20 } = {},
): Promise<NonNullable<T>> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (performance.now() > deadline) throw new Error(`did not happen within ${withinMs} ms: ${what}`);
    await sleep(everyMs);
  }
}
