/**
 * Everything the two planes tell each other.
 *
 * The control plane holds one RouteTable and raises its version with every change. An edge opens one HTTP stream
 * (`GET /internal/route-feed`, bearer credential) of newline-delimited FeedMessages: a snapshot first, then changes in
 * order, and a heartbeat when nothing else was sent for a while. After each message that it applied the edge confirms the
 * version it serves (`POST /internal/route-feed/applied`, an AppliedReport), and it reports what was invoked
 * (`POST /internal/usage`, a UsageReport). Of access tokens, which nobody pushes to it, it asks: access-token.ts.
 */
import { z } from "zod";
import { FunctionName, OwnerSlug } from "./names.ts";
import { VerificationKey } from "./session.ts";

/**
 * Who may call a function; annotation `com.openfaas.cloud.auth`, `public` where it is absent. `token` is for machines: the
 * owner's members, by an access token, as a bearer or in a basic pair, and by no session.
 */
export const Access = z.enum(["public", "signed-in", "members", "token"]);
export type Access = z.infer<typeof Access>;

/** One replica that answers. `url` is an origin: scheme, host and port, no path. */
export const Upstream = z.object({
  id: z.string().min(1).max(100),
  url: z
    .url({ protocol: /^https?$/ })
    .max(300)
    .refine(isOrigin, "must be an origin: no path, no credentials"),
});
export type Upstream = z.infer<typeof Upstream>;

function isOrigin(text: string): boolean {
  const url = URL.parse(text);
  return url !== null && (text === url.origin || text === `${url.origin}/`);
}

/** How often a function may be called: `perS` a second on average, `burst` at once. */
export const Rate = z.object({ perS: z.number().positive(), burst: z.int().positive() });
export type Rate = z.infer<typeof Rate>;

/** Bounds of one function on one edge process. */
export const RouteLimits = z.object({
  /** Largest request body, bytes; more is answered 413. */
  maxBodyBytes: z.int().positive(),
  /**
   * Requests under way at once on one edge; one more is answered 429. An edge of several workers gives each its share, rounded up:
   * more than this by at most one for each worker.
   */
  maxConcurrency: z.int().positive(),
  /**
   * How long the upstream may keep us waiting, for room for the body and for the head of its answer, milliseconds. Then
   * another replica is asked, once and where nothing can be executed twice by it; else the answer is 504.
   */
  firstByteMs: z.int().positive(),
  /** From the request's first byte to the answer's last one, milliseconds; `null` for streaming functions. */
  totalMs: z.int().positive().nullable(),
  /** Calls beyond are answered 429. Absent where none was asked for, which is what stored tables and their checksums know. */
  rate: Rate.optional(),
});
export type RouteLimits = z.infer<typeof RouteLimits>;

export const DEFAULT_ROUTE_LIMITS: RouteLimits = {
  maxBodyBytes: 10 * 1024 * 1024,
  maxConcurrency: 1000,
  firstByteMs: 60_000,
  totalMs: 120_000,
};

export const Route = z.object({
  owner: OwnerSlug,
  function: FunctionName,
  /** The function's stable id: the key of its usage, whatever it is called. */
  functionId: z.string().min(1).max(100),
  /** The revision behind the upstreams, sent to nobody; it tells two routes with the same upstreams apart. */
  revision: z.string().min(1).max(100),
  access: Access,
  upstreams: z.array(Upstream).max(1000),
  limits: RouteLimits,
});
export type Route = z.infer<typeof Route>;

/** What holds for all routes. Replaced whole by a change that carries it. */
export const RouteSettings = z.object({
  /** Session verification keys, newest first. */
  keys: z.array(VerificationKey).max(100),
  /** Ids of sessions (`jti`) and of access tokens that no longer count although they have not expired. */
  revoked: z.array(z.string().max(100)).max(100_000),
  /** Whether the 404 page of an unknown host may list the owners: true only where there is a single owner. */
  listOwners: z.boolean(),
});
export type RouteSettings = z.infer<typeof RouteSettings>;

const version = z.int().nonnegative();
/** Hexadecimal digest of the table that results, as `route-digest.ts` computes it. */
const checksum = z.string().regex(/^[0-9a-f]{64}$/);

export const RouteSnapshot = z.object({
  kind: z.literal("snapshot"),
  /** Which history the version counts in: changes when the control plane's store was made anew. */
  epoch: z.string().min(1).max(100),
  version,
  checksum,
  /** Lets a table through that shrank or grew beyond the collapse rule. Our control plane never sets it. */
  forced: z.boolean(),
  /**
   * Digest of `epoch`, `version`, `checksum` and `forced`, as `route-digest.ts` computes it: an edge that took a wrong version
   * for the right one would refuse all that come after as stale. Absent in what was made before there was one.
   */
  headChecksum: checksum.optional(),
  settings: RouteSettings,
  routes: z.array(Route).max(200_000),
});
export type RouteSnapshot = z.infer<typeof RouteSnapshot>;

/**
 * Upserts of one change, and removals. An edge takes a change in with no request between: so many upserts in some 15 ms.
 * What is more goes as several changes: a snapshot, which the edge judges between requests, is subject to its collapse rule.
 */
export const MOST_IN_CHANGE = 500;

export const RouteChange = z.object({
  kind: z.literal("change"),
  /** Always the version before it plus one; anything else is a gap, and the edge asks for a snapshot. */
  version,
  checksum,
  settings: RouteSettings.optional(),
  upserts: z.array(Route).max(MOST_IN_CHANGE),
  removals: z.array(Route.pick({ owner: true, function: true })).max(MOST_IN_CHANGE),
});
export type RouteChange = z.infer<typeof RouteChange>;

export const FeedMessage = z.discriminatedUnion("kind", [
  RouteSnapshot,
  RouteChange,
  z.object({ kind: z.literal("heartbeat"), version }),
]);
export type FeedMessage = z.infer<typeof FeedMessage>;

/** Silence after which an edge takes the stream for dead and connects again; heartbeats come at a third of it. */
export const FEED_SILENCE_MS = 15_000;

export const AppliedReport = z.object({
  edge: z.string().min(1).max(100),
  epoch: z.string(),
  version,
  checksum,
});
export type AppliedReport = z.infer<typeof AppliedReport>;

/** Upper bounds of the duration histogram, seconds: those of OpenFaaS's gateway (Prometheus' defaults). */
export const DURATION_BUCKETS_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const;

/**
 * Counters since the report before it. `sequence` rises by one with each report of one `edge` (an edge's id is new at each
 * start), so that a report sent twice counts once.
 */
export const UsageReport = z.object({
  edge: z.string().min(1).max(100),
  sequence: z.int().nonnegative(),
  functions: z
    .array(
      z.object({
        functionId: z.string().min(1).max(100),
        /** Answers by status code. */
        codes: z.record(z.string().regex(/^\d{3}$/), z.int().nonnegative()),
        /** Sum of durations, seconds. */
        durationSumS: z.number().nonnegative(),
        /** Not cumulative: one count for each of DURATION_BUCKETS_S, then one for all that took longer. */
        durationCounts: z.array(z.int().nonnegative()).length(DURATION_BUCKETS_S.length + 1),
      }),
    )
    .max(200_000),
});
export type UsageReport = z.infer<typeof UsageReport>;
