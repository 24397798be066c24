import { type FastifyInstance, fastify } from "fastify";
import {
  edgeRouteVersion,
  edgesConnected,
  queueDepth,
  registry,
  routeTableSize,
  routeTableVersion,
} from "./metrics.ts";
import type { Queue } from "./ports/queue/queue.ts";
import type { RoutePublisher } from "./routes/route-publisher.ts";

/** Metrics and health, on a port of their own that nobody forwards to. */
export function openAdminServer(ports: {
  readonly queue: Queue;
  readonly routes: RoutePublisher;
}): FastifyInstance {
  const server = fastify({ forceCloseConnections: true });
  server.get("/healthz", async () => "ok\n");
  server.get("/readyz", async () => {
    await ports.queue.depth();
    return "ok\n";
  });
  server.get("/metrics", async (_request, reply) => {
    const depth = await ports.queue.depth();
    queueDepth.set({ state: "queued" }, depth.queued);
    queueDepth.set({ state: "running" }, depth.running);
    routeTableVersion.set(ports.routes.version);
    routeTableSize.set(ports.routes.size);
    const edges = ports.routes.edges();
    edgesConnected.set(edges.length);
    if (edges.length > 0) edgeRouteVersion.set(Math.min(...edges.map(({ version }) => version)));
    return reply.type(registry.contentType).send(await registry.metrics());
  });
  return server;
}
