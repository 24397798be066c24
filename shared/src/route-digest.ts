import { createHash } from "node:crypto";
import type { Route, RouteSettings, RouteSnapshot } from "./route.ts";

const BYTES = 32;

/**
 * Checksum of a route table: the exclusive or of the SHA-256 of each route and of the settings, so that a change costs as
 * much as what it touches and not as much as the table. It finds tables that drifted apart; it does not authenticate, the
 * feed's credential does that.
 */
export class RouteDigest {
  readonly #sum = Buffer.alloc(BYTES);

  /** Adds an entry that is absent, or takes out one that is present: the same operation. */
  toggle(entry: Route | RouteSettings): void {
    const hash = createHash("sha256").update(canonicalJson(entry)).digest();
    for (let i = 0; i < BYTES; i++) this.#sum[i] = (this.#sum[i] ?? 0) ^ (hash[i] ?? 0);
  }

  copy(): RouteDigest {
    const copy = new RouteDigest();
    this.#sum.copy(copy.#sum);
    return copy;
  }

  hex(): string {
    return this.#sum.toString("hex");
  }
}

export function digestOf(settings: RouteSettings, routes: Iterable<Route>): RouteDigest {
  const digest = new RouteDigest();
  digest.toggle(settings);
  for (const route of routes) digest.toggle(route);
  return digest;
}

/** What `headChecksum` of a snapshot with this head has to be. */
export function headChecksumOf(
  head: Pick<RouteSnapshot, "epoch" | "version" | "checksum" | "forced">,
): string {
  const { epoch, version, checksum, forced } = head;
  return createHash("sha256").update(canonicalJson({ epoch, version, checksum, forced })).digest("hex");
}

function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    inner !== null && typeof inner === "object" && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
