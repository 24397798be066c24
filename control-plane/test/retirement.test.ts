import { pino } from "pino";
import { expect, test } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import { Retirement } from "../src/pipeline/retirement.ts";
import type { RevisionRef, Runtime } from "../src/ports/runtime/runtime.ts";
import { RoutePublisher } from "../src/routes/route-publisher.ts";

const OLD: RevisionRef = { revisionId: "old", ownerId: "owner" };
/** Retired later and due sooner: once it is ended, whatever was to be ended with it would have been. */
const CANARY: RevisionRef = { revisionId: "canary", ownerId: "owner" };

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
  const confirm = (version: number) =>
    routes.applied({ edge: "edge", epoch: "e", version, checksum: "0".repeat(64) });
  const retirement = () =>
    new Retirement({ runtime, routes, logger: pino({ level: "silent" }), arrivalMs: 0 });
  return { retirement, confirm, stopped };
}

test("a revision is not ended before every edge has let go of it, and is then", async () => {
  const { retirement, confirm, stopped } = await open();
  using retiring = retirement();
  retiring.retire([OLD], 2);
  retiring.retire([CANARY], 1);
  confirm(1);
  await eventually("the canary is ended", () => stopped.includes("canary"));
  expect(stopped).toEqual(["canary"]);
  confirm(2);
  await eventually("it is ended", () => stopped.includes("old"));
});

test("a platform that stops leaves what still waits to whoever ends the functions", async () => {
  const { retirement, confirm, stopped } = await open();
  const stopping = retirement();
  stopping.retire([OLD], 1);
  stopping[Symbol.dispose]();
  using next = retirement();
  next.retire([CANARY], 1);
  confirm(1);
  await eventually("the canary is ended", () => stopped.includes("canary"));
  expect(stopped).toEqual(["canary"]);
});
