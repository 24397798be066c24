import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { signer } from "../../edge/test/support/tokens.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import type { Bed } from "./comparators/comparator.ts";
import { startUpstream } from "./comparators/nginx.ts";
import { EVERYWHERE, twoSides } from "./server-process.ts";
import { DOMAIN } from "./workload.ts";

const TOKEN_LIFE_S = 8 * 60 * 60;

export interface OwnedBed extends Bed, AsyncDisposable {}

export interface BedOptions {
  /** One for each side, or everybody on both. */
  readonly cores?: 1 | 2;
  /** Where the upstream listens, for a proxy that was not started here. */
  readonly upstreamPort?: number;
  readonly profiles?: string;
}

/** A folder, the upstream, and a session token: what everybody who is measured needs. */
export async function layBed({ cores = 1, upstreamPort, profiles }: BedOptions = {}): Promise<OwnedBed> {
  if (process.platform !== "linux") {
    throw new KnownError("linux-only", "This bench reads what processes use from /proc: it needs Linux.");
  }
  await using stack = new AsyncDisposableStack();
  const sides = cores === 1 ? twoSides() : EVERYWHERE;
  const { path } = stack.use(await temporaryFolder());
  const at = upstreamPort === undefined ? {} : { port: upstreamPort };
  const upstream = stack.use(await startUpstream({ folder: path, core: sides.load, ...at }));
  const { key, sign } = await signer("bench");
  const exp = Math.floor(Date.now() / 1000) + TOKEN_LIFE_S;
  const token = await sign({ aud: `system.${DOMAIN}`, exp });
  const owned = stack.move();
  return {
    folder: path,
    cores: sides,
    workers: cores,
    upstreamPort: upstream.port,
    upstreamPid: upstream.pid,
    key,
    token,
    ...(profiles === undefined ? {} : { profiles }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
