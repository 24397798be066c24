import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { expect, test } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import { Retirement } from "../src/pipeline/retirement.ts";
import type { RevisionRef, Runtime } from "../src/ports/runtime/runtime.ts";
import { RoutePublisher } from "../src/routes/route-publisher.ts";

const OLD: RevisionRef = { revisionId: "old", ownerId: "owner" };

/** A runtime that notes what it is asked to stop, and one edge that confirms when the test says so. */
async function open() {
  const stopped: string[] = [];
  const runtime = {
    stop: async ({ revisionId }: RevisionRef) => void stopped.push(revisionId),
  } satisfies Partial<Runtime> as unknown as Runtime;
  const routes = await RoutePublisher.open(
    { epoch: "e", next: 1, reserve: async () => undefined },
    { keys: [], revoked: [], listOwners: true },
    [],
  );
  routes.connect("edge", () => undefined);
  const confirm = () => routes.applied({ edge: "edge", epoch: "e", version: 1, checksum: "0".repeat(64) });
  const retirement = new Retirement({ runtime, routes, logger: pino({ level: "silent" }), arrivalMs: 0 });
  return { retirement, confirm, stopped };
}

test("a revision is not ended before every edge has let go of it, and is then", async () => {
  const { retirement, confirm, stopped } = await open();
  using _ = retirement;
  retirement.retire([OLD], 1);
  // Nothing to wait for but that it does not happen: without an edge's word it would at once.
  await delay(50);
  expect(stopped).toEqual([]);
  confirm();
  await eventually("it is ended", () => stopped.includes("old"));
});

test("a platform that stops leaves what still waits to whoever ends the functions", async () => {
  const { retirement, confirm, stopped } = await open();
  retirement.retire([OLD], 1);
  retirement[Symbol.dispose]();
  confirm();
  await delay(50);
  expect(stopped).toEqual([]);
});
