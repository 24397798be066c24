import type { Socket } from "node:net";
import { LINGER_MS } from "../respond-error.ts";

/**
 * Closing on a client that is still sending resets the connection, and an answer that it has not read yet is lost with it
 * (RFC 9112 §9.6). node:http closes behind the last answer by `destroySoon`, whatever may still come; on this socket that
 * ends our half alone, throws away what comes, and closes when the client has finished or has had its time.
 */
export function closeInStages(socket: Socket): void {
  const closeWhenWritten = socket.destroySoon.bind(socket);
  let begun = false;
  socket.destroySoon = () => {
    if (begun) return;
    begun = true;
    if (socket.readableEnded || socket.destroyed) {
      closeWhenWritten();
      return;
    }
    // Not to the parser any more, which would make requests of it.
    socket.removeAllListeners("data").on("data", ignore).resume();
    socket.once("end", closeWhenWritten).end(() => {
      const timer = setTimeout(() => socket.destroy(), LINGER_MS).unref();
      socket.once("close", () => clearTimeout(timer));
    });
  };
}

function ignore(): void {
  // It comes behind the last request that is served.
}
