import { Agent, request as httpRequest } from "node:http";
import { z } from "zod";
import { quantile, servePart } from "./part.ts";

/**
 * Clients that ask at a fixed rate, GET and POST in turn, whatever the answers do. As many again ask the function itself, a
 * quarter as often: how long these take is the machine's doing, and no edge's.
 */
const Options = z.object({
  port: z.number(),
  host: z.string(),
  path: z.string(),
  perS: z.number(),
  connections: z.number(),
  functionPort: z.number(),
});

const TICK_MS = 5;

const DIRECT_EVERY = 4;

interface Window {
  readonly tookMs: number[];
  readonly directMs: number[];
  readonly failures: string[];
  underWay: number;
  readonly over: PromiseWithResolvers<void>;
  ended: boolean;
}

/** What an edge is used to. */
const WARM_UP_CONNECTIONS = 64;
const WARM_UP_REQUESTS = 20_000;

let current = newWindow();

servePart({
  /** As fast as it goes, so that what is measured after it is no edge's first use of its code and its memory. */
  async warmUp(given) {
    const options = Options.parse(given);
    const agent = new Agent({ keepAlive: true, maxSockets: WARM_UP_CONNECTIONS });
    let left = WARM_UP_REQUESTS;
    const client = async (): Promise<void> => {
      while (left-- > 0) await ask(options, agent, left % 2 === 0 ? "GET" : "POST");
    };
    await Promise.all(Array.from({ length: WARM_UP_CONNECTIONS }, client));
    agent.destroy();
    current = newWindow();
  },
  begin(given) {
    const options = Options.parse(given);
    // In turn, so that none is idle for so long that the edge closes it.
    const agent = new Agent({ keepAlive: true, maxSockets: options.connections, scheduling: "fifo" });
    const direct = new Agent({ keepAlive: true, maxSockets: options.connections, scheduling: "fifo" });
    const startedMs = performance.now();
    let sent = 0;
    setInterval(() => {
      const due = ((performance.now() - startedMs) / 1_000) * options.perS;
      for (; sent < due; sent++) {
        void ask(options, agent, sent % 2 === 0 ? "GET" : "POST");
        if (sent % DIRECT_EVERY === 0)
          void ask({ ...options, port: options.functionPort, path: "/" }, direct, "GET");
      }
    }, TICK_MS);
  },
  /** What came of all requests that were due since the last time, once each of them is over. */
  async report() {
    const window = current;
    current = newWindow();
    window.ended = true;
    if (window.underWay > 0) await window.over.promise;
    return {
      answered: window.tookMs.length,
      failed: window.failures.length,
      failures: window.failures.slice(0, 10),
      p50Ms: quantile(window.tookMs, 0.5),
      p99Ms: quantile(window.tookMs, 0.99),
      maxMs: quantile(window.tookMs, 1),
      directP99Ms: quantile(window.directMs, 0.99),
    };
  },
});

function newWindow(): Window {
  return {
    tookMs: [],
    directMs: [],
    failures: [],
    underWay: 0,
    over: Promise.withResolvers<void>(),
    ended: false,
  };
}

function ask(options: z.infer<typeof Options>, agent: Agent, method: "GET" | "POST"): Promise<void> {
  const over = Promise.withResolvers<void>();
  const window = current;
  const startedMs = performance.now();
  const tookMs = options.port === options.functionPort ? window.directMs : window.tookMs;
  window.underWay += 1;
  const done = (failure: string | undefined): void => {
    if (failure === undefined) tookMs.push(performance.now() - startedMs);
    else window.failures.push(failure);
    window.underWay -= 1;
    over.resolve();
    if (window.ended && window.underWay === 0) window.over.resolve();
  };
  const { port, path, host } = options;
  const request = httpRequest({ port, path, method, agent, headers: { host } });
  request.on("error", (error) => done(error.message));
  request.on("response", (response) => {
    response.resume();
    response.on("end", () =>
      done(response.statusCode === 200 ? undefined : `answered ${response.statusCode}`),
    );
    response.on("error", (error) => done(error.message));
  });
  request.end(method === "POST" ? "x".repeat(100) : undefined);
  return over.promise;
}
