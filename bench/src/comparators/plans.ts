import { publicPath, upstreamPath } from "../workload.ts";
import { startCaddy } from "./caddy.ts";
import { type Comparator, type ComparatorPlan, PUBLIC_ONLY } from "./comparator.ts";
import { startEdge } from "./edge.ts";
import { startHaproxy } from "./haproxy.ts";
import { startNginx } from "./nginx.ts";
import { startNodeProxy, startNodeRelay } from "./node-servers.ts";

const everything = { serves: () => true, path: publicPath } as const;

function edgePlan(name: string, routes: number, what: string): ComparatorPlan {
  return { name, what, needs: [], ...everything, start: (bed) => startEdge({ name, routes }, bed) };
}

/** Everybody that can be measured, in the order of the tables. */
export const PLANS: readonly ComparatorPlan[] = [
  {
    name: "direct",
    what: "the upstream itself, without a proxy",
    needs: ["nginx"],
    serves: () => true,
    path: upstreamPath,
    start: async ({ upstreamPort }): Promise<Comparator> => ({
      port: upstreamPort,
      // Its processor time is the load's, with which it shares a core.
      pids: [],
      async [Symbol.asyncDispose]() {
        // Whoever laid the bed ends it.
      },
    }),
  },
  {
    name: "node-relay",
    what: "bytes there and back in node:net, unread: no proxy, but all that Node leaves for one",
    needs: [],
    serves: ({ signedIn }) => !signedIn,
    path: upstreamPath,
    start: startNodeRelay,
  },
  edgePlan("ours", 10, "our edge, complete, 10 routes"),
  {
    name: "ours-full-lane",
    what: "our edge, complete, 10 routes, with the plain lane turned off",
    needs: [],
    ...everything,
    start: (bed) =>
      startEdge({ name: "ours-full-lane", routes: 10, environment: { EDGE_PLAIN_LANE: "off" } }, bed),
  },
  edgePlan("ours-1k-routes", 1_000, "our edge, complete, 1,000 routes"),
  edgePlan("ours-100k-routes", 100_000, "our edge, complete, 100,000 routes"),
  {
    name: "nginx",
    what: "nginx as a proxy, without access log",
    needs: ["nginx"],
    ...PUBLIC_ONLY,
    start: (bed) => startNginx("nginx", bed),
  },
  {
    name: "nginx-logged",
    what: "the same, with an access log in JSON, buffered",
    needs: ["nginx"],
    ...PUBLIC_ONLY,
    start: (bed) => startNginx("nginx-logged", bed, { accessLog: true }),
  },
  {
    name: "nginx-auth",
    what: "nginx with auth_request, verdicts cached, without access log",
    needs: ["nginx"],
    serves: ({ signedIn }) => signedIn,
    path: publicPath,
    start: (bed) => startNginx("nginx-auth", bed, { auth: true }),
  },
  { name: "haproxy", what: "HAProxy, without log", needs: ["haproxy"], ...PUBLIC_ONLY, start: startHaproxy },
  { name: "caddy", what: "Caddy, without access log", needs: ["caddy"], ...PUBLIC_ONLY, start: startCaddy },
  {
    name: "http-proxy",
    what: "http-proxy, without log",
    needs: [],
    ...PUBLIC_ONLY,
    start: (bed) => startNodeProxy("http-proxy", bed),
  },
  {
    name: "http-proxy-3",
    what: "http-proxy-3, without log",
    needs: [],
    ...PUBLIC_ONLY,
    start: (bed) => startNodeProxy("http-proxy-3", bed),
  },
];
