import { connect, type Socket } from "node:net";
import { must } from "@openfaas-cloud/shared/must.ts";
import { rank } from "../quantiles.ts";
import type { OpenLoopOptions, OpenLoopResult } from "./open-loop.ts";

// A process of its own, so that nothing but the load is on its event loop: `open-loop-main.ts <OpenLoopOptions as JSON>`.
// Prints an OpenLoopResult as JSON.

const TICK_MS = 1;
const GIVE_UP_MS = 10_000;
const END_OF_HEAD = Buffer.from("\r\n\r\n");

interface Connection {
  readonly socket: Socket;
  /** What came of the answer under way. */
  received: Buffer;
  /** When the request under way was handed over, for a connection to be free or not; `undefined` between two. */
  handedOverMs: number | undefined;
}

const options = JSON.parse(must(process.argv[2], "options")) as OpenLoopOptions;
const request = Buffer.from(requestText(options));
const expected = Buffer.from(options.answer);
// All are opened before the clock starts, and used in turn.
const idle: Connection[] = [];
const overdue: number[] = [];
const latenciesMs: number[] = [];
const lagsMs: number[] = [];
const failures = new Map<string, number>();
let sent = 0;
let settled = 0;
let counting = false;

for (let i = 0; i < options.connections; i++) idle.push(await open());
await load(options.warmUpS);
counting = true;
await load(options.seconds);
finish();

/** Requests by the clock, whether or not those before were answered. Resolves when all are. */
async function load(seconds: number): Promise<void> {
  const startedAtMs = performance.now();
  const intervalMs = 1000 / options.perSecond;
  const count = Math.round(seconds * options.perSecond);
  const goal = sent + count;
  let next = 0;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setInterval(() => {
    const now = performance.now();
    while (next < count && startedAtMs + next * intervalMs <= now) {
      if (counting) lagsMs.push(now - (startedAtMs + next * intervalMs));
      next += 1;
      send(now);
    }
    if (next === count && settled === goal) resolve();
    if (now > startedAtMs + seconds * 1000 + GIVE_UP_MS)
      reject(new Error(`${goal - settled} requests were not answered within ${GIVE_UP_MS} ms`));
  }, TICK_MS);
  await promise.finally(() => clearInterval(timer));
}

function send(handedOverMs: number): void {
  sent += 1;
  const connection = idle.shift();
  if (connection === undefined) overdue.push(handedOverMs);
  else sendOn(connection, handedOverMs);
}

function sendOn(connection: Connection, handedOverMs: number): void {
  connection.handedOverMs = handedOverMs;
  connection.socket.write(request);
}

async function open(): Promise<Connection> {
  const socket = connect({ port: options.port, host: "127.0.0.1", noDelay: true });
  const connection: Connection = { socket, received: Buffer.alloc(0), handedOverMs: undefined };
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.once("connect", resolve);
  socket.once("error", reject);
  await promise;
  socket.off("error", reject);
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk) => onData(connection, chunk));
  socket.once("close", () => void onClose(connection));
  return connection;
}

function onData(connection: Connection, chunk: Buffer): void {
  const { received } = connection;
  connection.received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
  const end = connection.received.indexOf(END_OF_HEAD);
  if (end === -1) return;
  const head = connection.received.toString("latin1", 0, end);
  const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? Number.NaN);
  const body = connection.received.subarray(end + END_OF_HEAD.length);
  if (Number.isNaN(length)) return void connection.socket.destroy();
  if (body.length < length) return;
  if (!head.startsWith("HTTP/1.1 200 ")) fail(head.slice(0, head.indexOf("\r\n")));
  else if (!body.equals(expected)) fail(`200 with ${body.length} bytes that are not the function's`);
  connection.received = Buffer.alloc(0);
  settle(connection);
  const waiting = overdue.shift();
  if (waiting === undefined) idle.push(connection);
  else sendOn(connection, waiting);
}

function settle(connection: Connection): void {
  if (connection.handedOverMs === undefined) return;
  settled += 1;
  if (counting) latenciesMs.push(performance.now() - connection.handedOverMs);
  connection.handedOverMs = undefined;
}

async function onClose(connection: Connection): Promise<void> {
  const at = idle.indexOf(connection);
  if (at !== -1) idle.splice(at, 1);
  if (connection.handedOverMs !== undefined) fail("connection closed without an answer");
  settle(connection);
  if (counting && at !== -1) fail("idle connection closed");
  const next = await open();
  const waiting = overdue.shift();
  if (waiting === undefined) idle.push(next);
  else sendOn(next, waiting);
}

function fail(what: string): void {
  failures.set(what, (failures.get(what) ?? 0) + 1);
}

function requestText({ path, host, token }: OpenLoopOptions): string {
  const authorization = token === undefined ? "" : `Authorization: Bearer ${token}\r\n`;
  return `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${authorization}\r\n`;
}

function finish(): void {
  const sorted = Float64Array.from(latenciesMs).sort();
  const lags = Float64Array.from(lagsMs).sort();
  const result: OpenLoopResult = {
    sent: latenciesMs.length,
    p50Ms: rank(sorted, 0.5),
    p99Ms: rank(sorted, 0.99),
    lagP99Ms: rank(lags, 0.99),
    failures: [...failures].map(([what, count]) => `${count} × ${what}`),
  };
  process.stdout.write(JSON.stringify(result), () => process.exit(0));
}
