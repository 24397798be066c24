import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { z } from "zod";
import { servePart } from "./part.ts";

/**
 * Functions of a goal. `/large` answers with 100 MiB, `/endless` without an end, `/upload` when it has the whole body, all no faster than
 * `bytesPerS`, so that filling the kernel's buffers of a thousand connections is not what is measured; `/` at once.
 */
const Options = z.object({ bytesPerS: z.number() });

const LARGE = 100 * 1024 * 1024;
const CHUNK = Buffer.alloc(64 * 1024, "x");
const TICK_MS = 100;

servePart({
  async listen(given) {
    const { bytesPerS } = Options.parse(given);
    const server = createServer((request, response) => {
      request.on("error", () => undefined);
      response.on("error", () => undefined);
      if (request.url === "/endless" || request.url === "/large") {
        const isLarge = request.url === "/large";
        if (isLarge) response.writeHead(200, { "Content-Length": LARGE });
        let left = isLarge ? LARGE : Number.POSITIVE_INFINITY;
        const timer = setInterval(
          () => {
            if (response.writableNeedDrain) return;
            response.write(CHUNK);
            left -= CHUNK.length;
            if (left === 0) response.end();
          },
          (CHUNK.length / bytesPerS) * 1_000,
        );
        response.on("close", () => clearInterval(timer));
      } else if (request.url === "/upload") {
        // No faster than this, whatever has come: who sends is to be held back. A chunk more than is due is a debt.
        let due = 0;
        const timer = setInterval(() => {
          due = Math.min(due + (bytesPerS * TICK_MS) / 1_000, bytesPerS);
          while (due > 0) {
            const chunk: Buffer | null = request.read();
            if (chunk === null) return;
            due -= chunk.length;
          }
        }, TICK_MS);
        response.on("close", () => clearInterval(timer));
        request.on("end", () => response.end("taken"));
      } else {
        request.resume().on("end", () => response.end("hello"));
      }
    });
    await new Promise<void>((resolve) =>
      server.listen({ port: 0, host: "127.0.0.1", backlog: 4_096 }, resolve),
    );
    return (server.address() as AddressInfo).port;
  },
});
