import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { z } from "zod";
import { FeedServer, route } from "../support/feed-server.ts";
import { AS_SUPERVISED, startEdgeProcess } from "./support/edge-process.ts";
import { startFunctions, startHonestLoad } from "./support/honest.ts";
import { LANES } from "./support/lanes.ts";
import { startPart } from "./support/part-process.ts";
import { NIGHTLY, size } from "./support/size.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const DOWNLOADS = size(20, 200);
const UPLOADS = size(10, 100);
/**
 * From when all are there. Read at 64 KiB a second, 100 MiB take 27 minutes, in which nothing new would be seen: the bodies
 * are cut off after this.
 */
const WATCHED_MS = size(20_000, 60_000);
const READ_BYTES_PER_S = 64 * KIB;
/** In which what the kernel held for the bodies is given back. */
const SETTLED_MS = 3_000;
/** Before, and after. */
const BASELINE_MS = 5_000;
/** SECURITY.md G12. */
const RSS_GROWTH = 96 * MIB;
const P99_FACTOR = 2;
/** A baseline below this is a few hundred microseconds, which one garbage collection doubles. */
const P99_FLOOR_MS = 5;

const Report = z.object({
  readBytes: z.number(),
  sentBytes: z.number(),
  open: z.number(),
  broken: z.number(),
});

// Both lanes where there is time for it; else the edge as it ships.
test.each(NIGHTLY ? LANES : LANES.slice(0, 1))(
  "large bodies cost no memory and no honest client's time, both ways (plain lane %s)",
  async (lane) => {
    await using honestFunction = await startFunctions(MIB);
    await using downloaded = await startFunctions(MIB);
    await using uploadedTo = await startFunctions(READ_BYTES_PER_S);
    const limits = { totalMs: null, maxBodyBytes: 200 * MIB };
    await using feed = await new FeedServer([
      route("alice/honest", [honestFunction.url]),
      route("alice/download", [downloaded.url], { limits }),
      route("alice/upload", [uploadedTo.url], { limits }),
    ]).listen();
    await using edge = await startEdgeProcess(feed.origin, lane, AS_SUPERVISED);
    await using honest = await startHonestLoad(edge.port, honestFunction.url);
    await sleep(BASELINE_MS);
    const before = await honest.report();
    const residentBefore = await edge.resetPeak();

    await using clients = startPart("large-bodies-part.ts");
    await clients.ask("begin", { port: edge.port, downloads: DOWNLOADS, uploads: UPLOADS }, z.null());
    const begun = await clients.ask("report", {}, Report);
    const coming = await honest.report();
    await sleep(WATCHED_MS);
    const end = await clients.ask("report", {}, Report);
    const under = await honest.report();
    const grown = (await edge.peakBytes()) - residentBefore;
    await clients.ask("leave", {}, z.null());
    await sleep(SETTLED_MS);
    const leaving = await honest.report();
    await sleep(BASELINE_MS);
    const after = await honest.report();

    const read = end.readBytes - begun.readBytes;
    process.stdout.write(
      `goal G12: plain lane ${lane}; ${DOWNLOADS} downloads and ${UPLOADS} uploads of 100 MiB, watched for ${WATCHED_MS / 1_000} s, ` +
        `${(end.readBytes / MIB).toFixed(0)} MiB read, ${(end.sentBytes / MIB).toFixed(0)} MiB sent; RSS ${(residentBefore / MIB).toFixed(0)} +${(grown / MIB).toFixed(0)} MiB; ` +
        `honest p99 ${before.p99Ms.toFixed(1)} -> ${under.p99Ms.toFixed(1)} -> ${after.p99Ms.toFixed(1)} ms, without the edge ${under.directP99Ms.toFixed(1)} ms\n`,
    );
    expect([before, coming, under, leaving, after].flatMap(({ failures }) => failures)).toEqual([]);
    expect([end.open, end.broken]).toEqual([DOWNLOADS + UPLOADS, 0]);
    // Every reader got what it read for.
    expect(read).toBeGreaterThan(0.8 * DOWNLOADS * READ_BYTES_PER_S * (WATCHED_MS / 1_000));
    expect(grown).toBeLessThanOrEqual(RSS_GROWTH);
    // What the machine takes without the edge, or without large bodies, is none of theirs: others may use it too.
    const baselineMs = Math.max(before.p99Ms, after.p99Ms, under.directP99Ms, P99_FLOOR_MS);
    expect(under.p99Ms).toBeLessThanOrEqual(P99_FACTOR * baselineMs);
    expect(edge.complaints()).toBe("");
  },
);
