import { z } from "zod";
import { type PartProcess, startPart } from "./part-process.ts";

const Report = z.object({
  answered: z.number(),
  failed: z.number(),
  /** The first of them. */
  failures: z.array(z.string()),
  p50Ms: z.number(),
  p99Ms: z.number(),
  maxMs: z.number(),
  /** Of the same client at the same time, without the edge. */
  directP99Ms: z.number(),
});
export type HonestReport = z.infer<typeof Report>;

export const HONEST_CONNECTIONS = 8;

export interface HonestLoad extends AsyncDisposable {
  /** What came of the requests since the last report, or since the start. */
  report(): Promise<HonestReport>;
}

/** After a warm-up, 200 requests a second for `alice/honest`, from a process of their own. */
export async function startHonestLoad(port: number, functionUrl: string): Promise<HonestLoad> {
  const part = startPart("honest-part.ts");
  const functionPort = Number(new URL(functionUrl).port);
  const where = { port, functionPort, host: "alice.fn.test", path: "/honest/" };
  const options = { ...where, perS: 200, connections: HONEST_CONNECTIONS };
  await part.ask("warmUp", options, z.null());
  await part.ask("begin", options, z.null());
  return {
    report: () => part.ask("report", {}, Report),
    [Symbol.asyncDispose]: () => part[Symbol.asyncDispose](),
  };
}

/** The URL of functions in a process of their own, of which the slow ones move this many bytes a second. */
export async function startFunctions(bytesPerS: number): Promise<{ readonly url: string } & AsyncDisposable> {
  const part: PartProcess = startPart("functions-part.ts");
  const port = await part.ask("listen", { bytesPerS }, z.number());
  return { url: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: () => part[Symbol.asyncDispose]() };
}
