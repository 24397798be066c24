import { createRequire } from "node:module";
import { must } from "@openfaas-cloud/shared/must.ts";

export interface RecordedEvent {
  readonly name: string;
  readonly examples: readonly Record<string, unknown>[];
}

/** Payloads that GitHub sent, by event. */
export const RECORDED: readonly RecordedEvent[] = createRequire(import.meta.url)(
  "@octokit/webhooks-examples/api.github.com/index.json",
);

/** The first recorded payload of an event that has these fields, to be changed at will. */
export function recorded(
  event: string,
  fields: Readonly<Record<string, unknown>> = {},
): Record<string, unknown> {
  const examples = must(RECORDED.find(({ name }) => name === event)?.examples, `examples of ${event}`);
  const fits = (it: Record<string, unknown>) =>
    Object.entries(fields).every(([name, value]) => it[name] === value);
  return structuredClone(must(examples.find(fits), `an example of ${event} as asked`));
}
