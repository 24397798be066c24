import type { IncomingMessage } from "node:http";

export interface BodyLimits {
  readonly maxBytes: number;
  /** From the request's head to its last byte. */
  readonly readMs: number;
  /** Taken in at once, of any size. */
  readonly maxBodies: number;
  /** What has more than this is large. */
  readonly largeBytes: number;
  /** Large ones taken in at once; those that are not in memory yet wait for their turn. */
  readonly maxLargeBodies: number;
  readonly maxLargeInMemory: number;
}

export type BodyRefusal = "too-large" | "too-slow" | "busy" | "broken-off";

/** Takes in bodies of strangers whole, within limits on each and on all of them together. */
export class DeliveryBodies {
  readonly #limits: BodyLimits;
  readonly #buffers: LargeBuffers;
  /** What ends the taking in of each that is not here whole yet, the oldest first. */
  readonly #arriving = new Set<() => void>();
  #bodies = 0;
  #large = 0;

  constructor(limits: BodyLimits) {
    this.#limits = limits;
    this.#buffers = new LargeBuffers(limits.maxLargeInMemory, limits.maxBytes);
  }

  /** Gives `use` the body, whose memory is given to another one when that is done. */
  async take<T>(request: IncomingMessage, use: (body: Buffer) => Promise<T>): Promise<T | BodyRefusal> {
    const { maxBodies, maxBytes, largeBytes } = this.#limits;
    if (this.#bodies >= maxBodies && !this.#breakOffOldest()) return "busy";
    const declared = declaredLength(request) ?? largeBytes;
    if (declared > maxBytes) return "too-large";
    this.#bodies++;
    const body: Body = {
      bytes: Buffer.allocUnsafeSlow(Math.min(declared, largeBytes)),
      length: 0,
      large: undefined,
    };
    try {
      const refusal = await this.#receive(request, body);
      return refusal ?? (await use(body.bytes.subarray(0, body.length)));
    } finally {
      this.#bodies--;
      if (body.large) {
        this.#large--;
        this.#buffers.giveBack(body.large);
      }
    }
  }

  /** Source hosts send without a pause, so nobody who drips is to keep them out. @returns false where all are here whole. */
  #breakOffOldest(): boolean {
    const [oldest] = this.#arriving;
    oldest?.();
    return oldest !== undefined;
  }

  #receive(request: IncomingMessage, body: Body): Promise<BodyRefusal | undefined> {
    const { maxBytes, maxLargeBodies, largeBytes, readMs } = this.#limits;
    return new Promise((resolve) => {
      const settle = (refusal: BodyRefusal | undefined) => {
        clearTimeout(timer);
        this.#arriving.delete(breakOff);
        request.off("data", onData).off("end", onEnd).off("close", onClose).off("error", onClose);
        request.on("error", () => undefined);
        request.pause();
        resolve(refusal);
      };
      const onData = (chunk: Buffer) => {
        const length = body.length + chunk.length;
        if (length > maxBytes) return settle("too-large");
        if (length <= largeBytes || body.large !== undefined) return append(body, chunk);
        if (this.#large >= maxLargeBodies) return settle("busy");
        this.#large++;
        request.pause();
        body.large = this.#buffers.ask((buffer) => {
          body.bytes.copy(buffer, 0, 0, body.length);
          body.bytes = buffer;
          append(body, chunk);
          request.resume();
        });
      };
      const onEnd = () => settle(undefined);
      const onClose = () => settle("broken-off");
      const breakOff = () => settle("busy");
      const timer = setTimeout(() => settle("too-slow"), readMs);
      this.#arriving.add(breakOff);
      request.on("data", onData).on("end", onEnd).on("close", onClose).on("error", onClose);
    });
  }
}

interface Body {
  bytes: Buffer;
  length: number;
  large: Turn | undefined;
}

function append(body: Body, chunk: Buffer): void {
  // A length that was declared and is exceeded has been refused by node.
  chunk.copy(body.bytes, body.length);
  body.length += chunk.length;
}

interface Turn {
  readonly onBuffer: (buffer: Buffer) => void;
  buffer: Buffer | undefined;
}

/** Used again for the next, since what is left to be collected still takes memory. */
class LargeBuffers {
  readonly #most: number;
  readonly #bytes: number;
  readonly #free: Buffer[] = [];
  readonly #waiting: Turn[] = [];
  #given = 0;

  constructor(most: number, bytes: number) {
    this.#most = most;
    this.#bytes = bytes;
  }

  /** In the order they came. `onBuffer` is not called before this returns. */
  ask(onBuffer: (buffer: Buffer) => void): Turn {
    const turn: Turn = { onBuffer, buffer: undefined };
    this.#waiting.push(turn);
    queueMicrotask(() => this.#serve());
    return turn;
  }

  /** Also where it had none yet, and does not want one any more. */
  giveBack(turn: Turn): void {
    const at = this.#waiting.indexOf(turn);
    if (at !== -1) this.#waiting.splice(at, 1);
    if (turn.buffer === undefined) return;
    this.#given--;
    this.#free.push(turn.buffer);
    this.#serve();
    if (this.#given === 0) this.#free.length = 0;
  }

  #serve(): void {
    while (this.#given < this.#most) {
      const turn = this.#waiting.shift();
      if (!turn) return;
      this.#given++;
      turn.buffer = this.#free.pop() ?? Buffer.allocUnsafeSlow(this.#bytes);
      turn.onBuffer(turn.buffer);
    }
  }
}

/** Node has refused anything that is no number of bytes. */
function declaredLength({ headers }: IncomingMessage): number | undefined {
  const length = headers["content-length"];
  return length === undefined ? undefined : Number(length);
}
