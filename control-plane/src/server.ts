import { existsSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import fastifyStatic from "@fastify/static";
import type { Secret } from "@openfaas-cloud/shared/env.ts";
import { type FastifyTRPCPluginOptions, fastifyTRPCPlugin } from "@trpc/server/adapters/fastify";
import { type FastifyInstance, fastify } from "fastify";
import { ZodError } from "zod";
import { serveGitHubApp } from "./access/serve-github-app.ts";
import { serveSignIn } from "./access/serve-sign-in.ts";
import type { SignIns } from "./access/sign-in.ts";
import { type ApiPorts, isOwnOrigin, openApiContext } from "./api/procedure.ts";
import { type AppRouter, appRouter } from "./api/router.ts";
import { serveBadges } from "./badge.ts";
import { serveEdges } from "./routes/serve.ts";
import type { DeliveryReceiver } from "./webhooks/receive.ts";

const MAX_API_BODY_BYTES = 1024 * 1024;
const MAX_BATCH = 20;

/**
 * A page may load what the platform itself serves and nothing else; scripts only from files.
 * @param formsGoTo the one origin beside ours: GitHub, where an operator's browser posts what App to make
 */
function securityHeaders(formsGoTo: string) {
  return {
    "content-security-policy": `default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self' ${formsGoTo}; frame-ancestors 'none'`,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
  } as const;
}

export interface ServerOptions {
  readonly api: ApiPorts;
  readonly signIns: SignIns;
  readonly deliveries: DeliveryReceiver;
  readonly handleGit: (request: IncomingMessage, response: ServerResponse) => Promise<void>;
  readonly feedCredential: Secret;
  /** The built dashboard. */
  readonly webDir: string;
}

/**
 * Everything that edges forward or call: git, API, dashboard, route feed. Git goes past the web framework, since its
 * bodies are streams of their own.
 */
export async function openServer(options: ServerOptions): Promise<FastifyInstance> {
  const { api } = options;
  const server: FastifyInstance = fastify({
    bodyLimit: MAX_API_BODY_BYTES,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 5000 },
    serverFactory: (handle) => streamsFirst(handle, options, api),
  });
  const headers = securityHeaders(api.gitHubApps.origin);
  server.addHook("onSend", async (_request, reply) => {
    reply.headers(headers);
  });
  server.setErrorHandler((error: Error & { statusCode?: number }, request, reply) => {
    const status = error instanceof ZodError ? 400 : (error.statusCode ?? 500);
    if (status >= 500) api.logger.error({ err: error, path: request.url.split("?")[0] }, "a request failed");
    return reply.code(status).send({ error: status >= 500 ? "An error of the platform." : error.message });
  });

  const { routes, usage, store, memberships, urls } = api;
  serveEdges(server, { routes, usage, store, memberships, credential: options.feedCredential });
  serveBadges(server, { store, runtime: api.runtime });
  serveSignIn(server, { signIns: options.signIns, urls });
  serveGitHubApp(server, api);
  await server.register((it) => serveApi(it, api));
  await serveDashboard(server, options.webDir);
  server.get("/", (_request, reply) => reply.redirect("/dashboard/", 307));
  return server;
}

async function serveApi(server: FastifyInstance, api: ApiPorts): Promise<void> {
  // Before a body is read.
  server.addHook("onRequest", async (request, reply) => {
    if (!isOwnOrigin(request.raw, api.urls))
      return reply.code(403).send({ error: "The API answers the dashboard's own pages only." });
    // What forms can send is none of it, since no browser asks before it sends that.
    if (
      request.method === "POST" &&
      !/^application\/json\s*(;|$)/i.test(request.headers["content-type"] ?? "")
    )
      return reply.code(415).send({ error: "The API takes application/json." });
  });
  await server.register(fastifyTRPCPlugin, {
    prefix: "/api/trpc",
    trpcOptions: {
      router: appRouter,
      maxBatchSize: MAX_BATCH,
      createContext: ({ req, res, info }) =>
        openApiContext({ request: req.raw, response: res.raw, isStream: info.type === "subscription" }, api),
      onError: ({ error, path }) => {
        if (error.code === "INTERNAL_SERVER_ERROR")
          api.logger.error({ err: error, path }, "a procedure failed");
      },
    } satisfies FastifyTRPCPluginOptions<AppRouter>["trpcOptions"],
  });
}

/** Git and deliveries have limits of their own for their bodies, and deliveries are verified by the bytes as they came. */
function streamsFirst(
  handle: (request: IncomingMessage, response: ServerResponse) => void,
  { handleGit, deliveries }: Pick<ServerOptions, "handleGit" | "deliveries">,
  { logger }: ApiPorts,
): Server {
  // A push may take longer to arrive than node's own limit for a request; the source host has a deadline for each.
  return createServer({ requestTimeout: 0 }, (request, response) => {
    if (deliveries.isFor(request.url)) return void deliveries.handle(request, response);
    if (!request.url?.startsWith("/git/")) return handle(request, response);
    handleGit(request, response).catch((error: unknown) => {
      logger.error({ err: error }, "a git request failed");
      if (response.headersSent) response.destroy();
      else response.writeHead(500, { "content-type": "text/plain" }).end("An error of the platform.\n");
    });
  });
}

async function serveDashboard(server: FastifyInstance, webDir: string): Promise<void> {
  if (!existsSync(webDir)) throw new Error(`the dashboard is not built: ${webDir} is missing; run npm start`);
  await server.register(fastifyStatic, {
    root: webDir,
    prefix: "/dashboard/",
    // Built files carry a hash of their content in their names; the page that names them is asked for each time.
    setHeaders: (response, path) => {
      response.setHeader(
        "cache-control",
        path.includes("/assets/") ? "public, max-age=31536000, immutable" : "no-cache",
      );
    },
  });
  // Upstream's API was there: whoever still asks it is to see that it is gone, and not a page.
  server.get("/dashboard/api/*", (_request, reply) =>
    reply.code(404).send({ error: "There is nothing at this address." }),
  );
  server.get("/dashboard", (_request, reply) => reply.redirect("/dashboard/", 308));
  server.setNotFoundHandler((request, reply) => {
    const wantsPage = request.method === "GET" && request.url.startsWith("/dashboard/");
    if (wantsPage && !request.url.startsWith("/dashboard/assets/")) {
      return reply.header("cache-control", "no-cache").sendFile("index.html");
    }
    return reply.code(404).send({ error: "There is nothing at this address." });
  });
}
