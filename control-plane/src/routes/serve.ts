import { timingSafeEqual } from "node:crypto";
import type { ServerResponse } from "node:http";
import { type AccessTokenAnswer, AccessTokenQuestion } from "@openfaas-cloud/shared/access-token.ts";
import type { Secret } from "@openfaas-cloud/shared/env.ts";
import { AppliedReport, FEED_SILENCE_MS, UsageReport } from "@openfaas-cloud/shared/route.ts";
import type { FastifyInstance } from "fastify";
import { findAccessToken } from "../access/credentials.ts";
import type { Memberships } from "../access/memberships.ts";
import { sha256 } from "../ids.ts";
import type { Store } from "../ports/store/store.ts";
import type { UsageSource } from "../ports/usage-source/usage-source.ts";
import type { RoutePublisher } from "./route-publisher.ts";

/** An edge that is this far behind with reading is cut off; it comes back and gets a snapshot. */
const MOST_BUFFERED_BYTES = 64 * 1024 * 1024;
const MAX_QUESTION_BYTES = 1024;
/** Less than an edge waits for its answer. */
const STANDING_WAIT_MS = 1_200;
/** The bound of AccessTokenAnswer. */
const MAX_ORGANIZATIONS = 1_000;

/**
 * What edges call: the route feed, their confirmations, their counters and their questions. All of it asks for the feed's
 * credential.
 */
export function serveEdges(
  server: FastifyInstance,
  options: {
    readonly routes: RoutePublisher;
    readonly usage: UsageSource;
    readonly store: Store;
    readonly memberships: Standings;
    readonly credential: Secret;
  },
): void {
  const { routes, usage, store, memberships } = options;
  const expected = Buffer.from(sha256(`Bearer ${options.credential.reveal()}`));

  server.register(async (edges) => {
    edges.addHook("onRequest", async (request, reply) => {
      // Both sides are hashed first, so that the comparison takes the same time whatever is presented.
      const presented = Buffer.from(sha256(request.headers.authorization ?? ""));
      if (!timingSafeEqual(presented, expected)) await reply.code(401).send({ error: "wrong credential" });
    });

    edges.get<{ Querystring: { edge?: string } }>("/internal/route-feed", async (request, reply) => {
      const edge = (request.query.edge ?? "").slice(0, 100);
      if (edge === "") return reply.code(400).send({ error: "the query must name the edge: ?edge=<id>" });
      reply.hijack();
      return streamFeed(reply.raw, edge, routes);
    });

    edges.post("/internal/route-feed/applied", async (request, reply) => {
      routes.applied(AppliedReport.parse(request.body));
      return reply.code(204).send();
    });

    edges.post("/internal/usage", { bodyLimit: 64 * 1024 * 1024 }, async (request, reply) => {
      await usage.record(UsageReport.parse(request.body));
      return reply.code(204).send();
    });

    edges.post("/internal/access-tokens", { bodyLimit: MAX_QUESTION_BYTES }, async (request, reply) => {
      const { digest } = AccessTokenQuestion.parse(request.body);
      const answer = await answerOf(digest, { store, memberships });
      // No answer to go by: the edge asks again, and says so to its caller.
      return (
        answer ?? reply.code(503).send({ error: "the source host has not said yet what the person may do" })
      );
    });
  });
}

type Standings = Pick<Memberships, "ensure" | "ownersOf">;

/** `undefined` where what the token's person may do is not known yet. */
async function answerOf(
  digest: string,
  { store, memberships }: { readonly store: Store; readonly memberships: Standings },
): Promise<AccessTokenAnswer | undefined> {
  const found = await findAccessToken(store, digest);
  if (!found) return { kind: "unknown" };
  const standing = await memberships.ensure(found.subject, STANDING_WAIT_MS);
  if (standing === "unknown") return undefined;
  if (standing === "ended") return { kind: "unknown" };
  if (!found.scopes.includes("invoke")) return { kind: "unknown", lacks: "invoke" };
  // Looked up anew: what changed meanwhile also changed what edges know the token by.
  const token = await findAccessToken(store, digest);
  if (!token) return { kind: "unknown" };
  const owners = await memberships.ownersOf(token.subject);
  return {
    kind: "known",
    id: token.edgeId,
    sub: token.subject,
    name: token.name,
    organizations: owners.slice(0, MAX_ORGANIZATIONS).map(({ slug }) => slug),
    expiresInMs: token.expiresAt === null ? null : Math.max(1, token.expiresAt - Date.now()),
  };
}

function streamFeed(response: ServerResponse, edge: string, routes: RoutePublisher): void {
  response.writeHead(200, { "content-type": "application/x-ndjson", "cache-control": "no-store" });
  response.socket?.setNoDelay(true);
  const connection = routes.connect(edge, (message) => {
    if (response.writableLength > MOST_BUFFERED_BYTES) response.destroy();
    else response.write(`${JSON.stringify(message)}\n`);
  });
  const heartbeat = setInterval(
    () => response.write(`${JSON.stringify({ kind: "heartbeat", version: routes.version })}\n`),
    FEED_SILENCE_MS / 3,
  );
  response.on("error", () => response.destroy());
  response.on("close", () => {
    clearInterval(heartbeat);
    connection[Symbol.dispose]();
  });
}
