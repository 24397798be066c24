import { Socket } from "node:net";
import { z } from "zod";
import { servePart } from "./part.ts";

/** Clients that download 100 MiB each, at 64 KiB a second, and others that upload as much to a function that is slow. */
const Options = z.object({ port: z.number(), downloads: z.number(), uploads: z.number() });

const LARGE = 100 * 1024 * 1024;
const READ_BYTES_PER_S = 64 * 1024;
const TICK_MS = 250;
/** So that filling the kernel's buffers, several MiB for each connection, takes a part of the time and not of the machine. */
const COME_PER_S = 10;

const HOST = "Host: alice.fn.test\r\n";
const CHUNK = Buffer.alloc(64 * 1024, "x");

const open = new Set<Socket>();
let readBytes = 0;
let broken = 0;

servePart({
  async begin(given) {
    const { port, downloads, uploads } = Options.parse(given);
    const toCome = [
      ...Array.from({ length: downloads }, () => download),
      ...Array.from({ length: uploads }, () => upload),
    ];
    const all = Promise.withResolvers<void>();
    const coming = setInterval(() => {
      toCome.shift()?.(port);
      if (toCome.length > 0) return;
      clearInterval(coming);
      all.resolve();
    }, 1_000 / COME_PER_S);
    await all.promise;
  },
  report() {
    let sentBytes = 0;
    for (const socket of open) sentBytes += socket.bytesWritten - socket.writableLength;
    return { readBytes, sentBytes, open: open.size, broken };
  },
  leave() {
    for (const socket of open) socket.destroy();
  },
});

function connected(port: number): Socket {
  const socket = new Socket();
  open.add(socket);
  socket.on("error", () => socket.destroy());
  socket.on("end", () => {
    broken += 1;
  });
  socket.on("close", () => open.delete(socket));
  return socket.connect(port, "127.0.0.1");
}

function download(port: number): void {
  const socket = connected(port).pause();
  socket.write(`GET /download/large HTTP/1.1\r\n${HOST}\r\n`);
  const perTick = (READ_BYTES_PER_S * TICK_MS) / 1_000;
  const timer = setInterval(() => {
    const chunk: Buffer | null = socket.read(perTick) ?? socket.read();
    readBytes += chunk?.length ?? 0;
  }, TICK_MS);
  socket.on("close", () => clearInterval(timer));
}

function upload(port: number): void {
  const socket = connected(port).resume();
  socket.write(`POST /upload/upload HTTP/1.1\r\n${HOST}Content-Length: ${LARGE}\r\n\r\n`);
  let left = LARGE;
  const more = (): void => {
    while (left > 0) {
      left -= CHUNK.length;
      if (!socket.write(CHUNK)) return;
    }
  };
  socket.on("drain", more);
  more();
}
