import { z } from "zod";

/** What a part of a goal's world is told by its test, and answers with a Reply of the same id. */
export const Command = z.object({ id: z.number(), name: z.string(), options: z.unknown() });
export const Reply = z.object({ id: z.number(), result: z.unknown() });

/** Each command's work; what it gives is sent back. */
export type Commands = Readonly<Record<string, (options: unknown) => unknown>>;

/** Makes this process a part: obeys until its test goes away. */
export function servePart(commands: Commands): void {
  process.on("message", async (message) => {
    const { id, name, options } = Command.parse(message);
    const work = commands[name];
    if (work === undefined) throw new Error(`no such command: ${name}`);
    process.send?.({ id, result: (await work(options)) ?? null } satisfies z.infer<typeof Reply>);
  });
  process.on("disconnect", () => process.exit(0));
}

/** The value below which this share of the values lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
