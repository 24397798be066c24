import type { IncomingMessage } from "node:http";

export interface BodyLimits {
  readonly maxBytes: number;
  /** From the request's head to its last byte. */
  readonly readMs: number;
  /** Bodies being received at once, of any size. */
  readonly maxBodies: number;
  /** Of this size at least: what all of them hold together beyond it is limited to `maxLargeBodies` of the largest. */
  readonly largeBytes: number;
  readonly maxLargeBodies: number;
}

export type BodyRefusal = "too-large" | "too-slow" | "busy" | "broken-off";

/** Takes in bodies of strangers whole, within limits on each and on all of them together. */
export class DeliveryBodies {
  readonly #limits: BodyLimits;
  #bodies = 0;
  /** Bytes of large bodies, without the first `largeBytes` of each. */
  #largeHeld = 0;

  constructor(limits: BodyLimits) {
    this.#limits = limits;
  }

  /** Gives `use` the body, which counts as held until that is done. */
  async take<T>(request: IncomingMessage, use: (body: Buffer) => Promise<T>): Promise<T | BodyRefusal> {
    if (this.#bodies >= this.#limits.maxBodies) return "busy";
    const declared = declaredLength(request);
    if (declared !== undefined && declared > this.#limits.maxBytes) return "too-large";
    this.#bodies++;
    const body = new GrowingBody(declared, this.#limits);
    try {
      const refusal = await this.#receive(request, body);
      return refusal ?? (await use(body.bytes));
    } finally {
      this.#bodies--;
      this.#largeHeld -= body.largeBytes;
    }
  }

  #receive(request: IncomingMessage, body: GrowingBody): Promise<BodyRefusal | undefined> {
    const { maxBytes, readMs, maxLargeBodies } = this.#limits;
    return new Promise((resolve) => {
      const settle = (refusal: BodyRefusal | undefined) => {
        clearTimeout(timer);
        request.off("data", onData).off("end", onEnd).off("close", onClose).off("error", onClose);
        request.on("error", () => undefined);
        request.pause();
        resolve(refusal);
      };
      const onData = (chunk: Buffer) => {
        if (body.length + chunk.length > maxBytes) return settle("too-large");
        const before = body.largeBytes;
        body.append(chunk);
        this.#largeHeld += body.largeBytes - before;
        if (body.largeBytes > before && this.#largeHeld > maxLargeBodies * maxBytes) settle("busy");
      };
      const onEnd = () => settle(undefined);
      const onClose = () => settle("broken-off");
      const timer = setTimeout(() => settle("too-slow"), readMs);
      request.on("data", onData).on("end", onEnd).on("close", onClose).on("error", onClose);
    });
  }
}

/** Grows without being copied more than once: pages that nothing was written to take no memory. */
class GrowingBody {
  readonly #limits: BodyLimits;
  #buffer: Buffer;
  length = 0;

  constructor(declared: number | undefined, limits: BodyLimits) {
    this.#limits = limits;
    this.#buffer = Buffer.allocUnsafeSlow(declared ?? limits.largeBytes);
  }

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.length);
  }

  get largeBytes(): number {
    return Math.max(0, this.length - this.#limits.largeBytes);
  }

  append(chunk: Buffer): void {
    if (this.length + chunk.length > this.#buffer.length) {
      const whole = Buffer.allocUnsafeSlow(this.#limits.maxBytes);
      this.#buffer.copy(whole, 0, 0, this.length);
      this.#buffer = whole;
    }
    chunk.copy(this.#buffer, this.length);
    this.length += chunk.length;
  }
}

/** Node has refused anything that is no number of bytes. */
function declaredLength({ headers }: IncomingMessage): number | undefined {
  const length = headers["content-length"];
  return length === undefined ? undefined : Number(length);
}
