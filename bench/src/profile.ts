import { readFile } from "node:fs/promises";
import { z } from "zod";
import type { Figure } from "./report.ts";

const SHOWN = 25;
/** Not work: waiting for it, and what stands between samples. */
const NOT_BUSY = new Set(["(idle)", "(root)"]);

/** What Node's `--cpu-prof` writes, as far as it is read here. */
const Profile = z.object({
  nodes: z.array(
    z.object({
      id: z.number(),
      callFrame: z.object({ functionName: z.string(), url: z.string(), lineNumber: z.number() }),
    }),
  ),
  samples: z.array(z.number()),
  timeDeltas: z.array(z.number()),
});

/** Each function's own part of the busy time, the largest first. */
export function ownTimes(text: string): { place: string; percent: number }[] {
  const { nodes, samples, timeDeltas } = Profile.parse(JSON.parse(text));
  const places = new Map(nodes.map(({ id, callFrame }) => [id, placeOf(callFrame)]));
  const times = new Map<string, number>();
  for (const [i, id] of samples.entries()) {
    const place = places.get(id) ?? "(root)";
    if (!NOT_BUSY.has(place)) times.set(place, (times.get(place) ?? 0) + (timeDeltas[i] ?? 0));
  }
  const busy = [...times.values()].reduce((sum, time) => sum + time, 0);
  return [...times]
    .map(([place, time]) => ({ place, percent: (100 * time) / busy }))
    .toSorted((a, b) => b.percent - a.percent);
}

export async function profileFigures(title: string, file: string): Promise<Figure[]> {
  return ownTimes(await readFile(file, "utf8"))
    .slice(0, SHOWN)
    .map(({ place, percent }) => ({
      table: `${title}: own part of the busy time`,
      name: place,
      unit: "count",
      values: { "%": percent },
    }));
}

function placeOf(frame: { functionName: string; url: string; lineNumber: number }): string {
  const name = frame.functionName === "" ? "(anonymous)" : frame.functionName;
  if (frame.url === "") return name;
  const file = frame.url.split("/").slice(-3).join("/");
  return `${name} ${file}:${frame.lineNumber + 1}`;
}
