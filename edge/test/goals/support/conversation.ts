import { connect, type Socket } from "node:net";

export interface Speech {
  /** Written one after the other, each a packet of its own as far as TCP lets it. */
  readonly pieces: readonly Buffer[];
  /** Where the client comes from, which is what the edge tells the function: 127.0.0.0/8 has an address for each. */
  readonly from: string;
  /** Ends the client's side after the last piece: for what waits for more and would never be answered. */
  readonly halfClose?: boolean;
  /** Awaited before the last piece, when all others are on their way. */
  readonly beforeLast?: () => Promise<void>;
}

export interface Heard {
  readonly received: Buffer;
  /** `false` where the edge had not closed the connection by the deadline. */
  readonly closed: boolean;
}

const PATIENCE_MS = 8_000;

/** Says something to the edge, and gives what it heard until the edge closed. */
export function converse(port: number, speech: Speech): Promise<Heard> {
  const { promise, resolve } = Promise.withResolvers<Heard>();
  const chunks: Buffer[] = [];
  // What the edge still says behind its end of the connection is to be heard, and a piece under way to be sent.
  const socket = connect({
    port,
    host: "127.0.0.1",
    localAddress: speech.from,
    noDelay: true,
    allowHalfOpen: true,
  });
  const finish = (closed: boolean): void => {
    clearTimeout(timer);
    socket.destroy();
    resolve({ received: Buffer.concat(chunks), closed });
  };
  const timer = setTimeout(() => finish(false), PATIENCE_MS);
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  // A reset counts as closed; what had come before it stays.
  socket.on("error", () => finish(true));
  socket.on("close", () => finish(true));
  void say(speech, socket);
  return promise;
}

/** With a turn of the event loop in between, so that the pieces arrive as pieces. */
async function say({ pieces, halfClose, beforeLast }: Speech, socket: Socket): Promise<void> {
  for (const [i, piece] of pieces.entries()) {
    if (i > 0) await new Promise((resolve) => setImmediate(resolve));
    if (i === pieces.length - 1) await beforeLast?.();
    socket.write(piece);
  }
  if (halfClose === true || socket.readableEnded) socket.end();
  else socket.once("end", () => socket.end());
}

/** Runs a task for each item, so many at once. */
export async function forEachOf<T>(
  items: Iterable<T>,
  atOnce: number,
  task: (item: T, index: number) => Promise<void>,
): Promise<void> {
  const iterator = items[Symbol.iterator]();
  let index = 0;
  const worker = async (): Promise<void> => {
    for (let next = iterator.next(); next.done !== true; next = iterator.next()) {
      await task(next.value, index++);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

/** A loopback address for each number up to 16 million; 127.0.x.x is left to others. */
export function addressOf(index: number): string {
  const block = Math.floor(index / 254);
  return `127.${(block >> 8) + 1}.${block & 255}.${(index % 254) + 1}`;
}
