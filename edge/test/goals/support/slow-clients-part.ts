import { Socket } from "node:net";
import { z } from "zod";
import { servePart } from "./part.ts";

/**
 * Clients that hold what they were given for as long as they can: drips of a head, of a body with a length and one in chunks
 * (which no plain lane takes), and those that never read.
 * A drip that is told to go comes back at once; being told to go means to hear the end of the connection, and until it is
 * reset it drips on.
 */
const Options = z.object({
  port: z.number(),
  headerDrips: z.number(),
  bodyDrips: z.number(),
  neverReading: z.number(),
  dripEveryMs: z.number(),
});

type Kind = "header" | "body" | "chunked-body" | "never-reading";

/** Sources, so that the ports of one do not run out. */
const ADDRESSES = Array.from({ length: 20 }, (_, i) => `127.0.0.${i + 2}`);
/** A thousand a second, which is more than what goes, so that there are always as many as asked for. */
const BATCH = 25;
const BATCH_EVERY_MS = 25;
/** For all that never read to come, each of whom has several MiB passed to the kernel before that says that it is enough. */
const NEVER_READING_COME_MS = 45_000;

const HOST = "Host: alice.fn.test\r\n";
const FIRST_BYTES: Readonly<Record<Kind, string>> = {
  header: `GET /slow/ HTTP/1.1\r\n${HOST}X-Drip: `,
  body: `POST /slow/upload HTTP/1.1\r\n${HOST}Content-Length: 10000\r\n\r\n`,
  "chunked-body": `POST /slow/upload HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n2710\r\n`,
  "never-reading": `GET /slow/endless HTTP/1.1\r\n${HOST}\r\n`,
};

/** Drips come evenly: a part of them each time, and each of them at its own. */
const PARTS = 30;

const open = new Set<Socket>();
const drips = Array.from({ length: PARTS }, () => new Set<Socket>());
const livedMs: Record<Kind, number> = { header: 0, body: 0, "chunked-body": 0, "never-reading": 0 };
let opened = 0;
let goneEarly = 0;
let comingBack = true;
const toOpen: Kind[] = [];

servePart({
  async attack(given) {
    const { port, headerDrips, bodyDrips, neverReading, dripEveryMs } = Options.parse(given);
    const add = (kind: Kind, count: number) => toOpen.push(...Array.from({ length: count }, () => kind));
    add("body", Math.ceil(bodyDrips / 2));
    add("chunked-body", Math.floor(bodyDrips / 2));
    add("header", headerDrips);
    const all = toOpen.length;
    let stillToCome = neverReading;
    const coming = setInterval(() => {
      if (stillToCome-- > 0) openOne(port, "never-reading");
      else clearInterval(coming);
    }, NEVER_READING_COME_MS / Math.max(1, neverReading));
    const first = Promise.withResolvers<void>();
    setInterval(() => {
      for (const kind of toOpen.splice(0, BATCH)) openOne(port, kind);
      if (opened >= all) first.resolve();
    }, BATCH_EVERY_MS);
    let turn = 0;
    setInterval(() => {
      turn = (turn + 1) % PARTS;
      for (const socket of drips[turn] ?? []) if (socket.writable) socket.write("x");
    }, dripEveryMs / PARTS);
    await first.promise;
  },
  report: () => ({
    opened,
    open: open.size,
    /** Never-reading ones that did not last. */
    goneEarly,
    longestHeaderMs: livedMs.header,
    longestBodyMs: Math.max(livedMs.body, livedMs["chunked-body"]),
  }),
  stopComingBack() {
    comingBack = false;
    toOpen.length = 0;
  },
  leave() {
    for (const socket of open) socket.destroy();
  },
});

function openOne(port: number, kind: Kind): void {
  const localAddress = ADDRESSES[opened % ADDRESSES.length] ?? "127.0.0.1";
  opened += 1;
  const socket = new Socket({ allowHalfOpen: true });
  let startedMs: number | undefined;
  const gone = (): void => {
    if (startedMs === undefined) return;
    livedMs[kind] = Math.max(livedMs[kind], performance.now() - startedMs);
    startedMs = undefined;
  };
  if (kind === "never-reading") socket.pause();
  else socket.resume();
  open.add(socket);
  const mine = kind === "never-reading" ? undefined : drips[opened % PARTS];
  mine?.add(socket);
  socket.once("connect", () => {
    startedMs = performance.now();
    socket.write(FIRST_BYTES[kind]);
  });
  socket.once("end", gone);
  socket.on("error", () => socket.destroy());
  socket.once("close", () => {
    gone();
    open.delete(socket);
    mine?.delete(socket);
    if (kind === "never-reading") goneEarly += 1;
    else if (comingBack) toOpen.push(kind);
  });
  socket.connect({ port, host: "127.0.0.1", localAddress });
}
