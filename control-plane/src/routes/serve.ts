import { timingSafeEqual } from "node:crypto";
import type { ServerResponse } from "node:http";
import { type AccessTokenAnswer, AccessTokenQuestion } from "@openfaas-cloud/shared/access-token.ts";
import type { Secret } from "@openfaas-cloud/shared/env.ts";
import { AppliedReport, FEED_SILENCE_MS, UsageReport } from "@openfaas-cloud/shared/route.ts";
import type { FastifyInstance } from "fastify";
import { findAccessToken } from "../access/credentials.ts";
import { sha256 } from "../ids.ts";
import { ownersOf } from "../ports/store/owners.ts";
import type { Store } from "../ports/store/store.ts";
import type { UsageSource } from "../ports/usage-source/usage-source.ts";
import type { RoutePublisher } from "./route-publisher.ts";

/** An edge that is this far behind with reading is cut off; it comes back and gets a snapshot. */
const MOST_BUFFERED_BYTES = 64 * 1024 * 1024;
const MAX_QUESTION_BYTES = 1024;

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
    readonly credential: Secret;
  },
): void {
  const { routes, usage, store } = options;
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

    edges.post("/internal/access-tokens", { bodyLimit: MAX_QUESTION_BYTES }, async (request) => {
      const { digest } = AccessTokenQuestion.parse(request.body);
      return answerOf(digest, store);
    });
  });
}

async function answerOf(digest: string, store: Store): Promise<AccessTokenAnswer> {
  const token = await findAccessToken(store, digest);
  if (!token) return { kind: "unknown" };
  const owners = await ownersOf(store, token.subject);
  return {
    kind: "known",
    id: token.id,
    sub: token.subject,
    name: token.name,
    organizations: owners.map(({ slug }) => slug),
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
