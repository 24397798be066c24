import type { IncomingMessage } from "node:http";
import { addressOf } from "../access/caller.ts";

export interface BodyLimits {
  readonly maxBytes: number;
  /** From the request's head to its last byte. */
  readonly readMs: number;
  /** What has more than this is large. */
  readonly largeBytes: number;
  /** Taken in at once: of those that are not large (yet), and of those that are. */
  readonly maxSmallBodies: number;
  readonly maxLargeBodies: number;
  /** Large ones that are in memory at once; others wait for their turn, and for none that comes more slowly than this. */
  readonly maxLargeInMemory: number;
  readonly minLargeBytesPerS: number;
}

export type BodyRefusal = "too-large" | "too-slow" | "busy" | "broken-off";

/** How often one that waits for memory looks whether it is kept from it by one that is too slow. */
const LOOK_MS = 50;

/**
 * Takes in bodies of strangers whole, within limits on each and on all of them together. Where there are more than may be, the
 * one that arrives the slowest gives way: whoever wants to keep source hosts out has to send about as fast as they do, all the
 * time, from as many addresses as there are places.
 */
export class DeliveryBodies {
  readonly #limits: BodyLimits;
  readonly #small: Places;
  readonly #large: Places;
  readonly #buffers: LargeBuffers;
  #lastLarge: Promise<unknown> = Promise.resolve();

  constructor(limits: BodyLimits) {
    this.#limits = limits;
    this.#small = new Places(limits.maxSmallBodies);
    this.#large = new Places(limits.maxLargeBodies);
    this.#buffers = new LargeBuffers(limits);
  }

  /** Gives `use` the body, whose memory is given to another one when that is done. */
  async take<T>(request: IncomingMessage, use: (body: Buffer) => Promise<T>): Promise<T | BodyRefusal> {
    const { maxBytes, largeBytes } = this.#limits;
    const declared = declaredLength(request) ?? largeBytes;
    if (declared > maxBytes) return "too-large";
    const bytes = Buffer.allocUnsafeSlow(Math.min(declared, largeBytes));
    const arrival = new Arrival(addressOf(request), bytes, largeBytes);
    try {
      const refusal = await this.#receive(request, arrival);
      if (refusal) return refusal;
      const work = () => use(arrival.bytes.subarray(0, arrival.length));
      return await (arrival.length > largeBytes ? this.#oneLargeAtATime(work) : work());
    } finally {
      arrival.leave();
    }
  }

  /** Verifying and packing takes as much memory again. */
  #oneLargeAtATime<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#lastLarge.then(work);
    this.#lastLarge = turn.catch(() => undefined);
    return turn;
  }

  #receive(request: IncomingMessage, arrival: Arrival): Promise<BodyRefusal | undefined> {
    const { maxBytes, largeBytes, readMs } = this.#limits;
    return new Promise((resolve) => {
      const settle = (refusal: BodyRefusal | undefined) => {
        clearTimeout(timer);
        request.off("data", onData).off("end", onEnd).off("close", onClose).off("error", onClose);
        request.on("error", () => undefined);
        request.pause();
        arrival.giveWay = undefined;
        // At once, so that who it gives way to has what it held.
        if (refusal) arrival.leave();
        resolve(refusal);
      };
      const onData = (chunk: Buffer) => {
        const length = arrival.length + chunk.length;
        if (length > maxBytes) settle("too-large");
        else if (arrival.length <= largeBytes && length > largeBytes) this.#grow(request, arrival, chunk);
        else arrival.append(chunk);
      };
      const onEnd = () => settle(undefined);
      const onClose = () => settle("broken-off");
      const timer = setTimeout(() => settle("too-slow"), readMs);
      arrival.giveWay = () => settle("busy");
      request.on("data", onData).on("end", onEnd).on("close", onClose).on("error", onClose);
      arrival.enter(this.#small);
    });
  }

  #grow(request: IncomingMessage, arrival: Arrival, chunk: Buffer): void {
    arrival.leave();
    if (!arrival.enter(this.#large)) return;
    request.pause();
    arrival.waitFor(this.#buffers, () => {
      arrival.append(chunk);
      request.resume();
    });
  }
}

/** A body on its way in, and what it holds meanwhile. */
class Arrival {
  readonly peer: string;
  bytes: Buffer;
  length = 0;
  /** Ends it for another's sake; `undefined` where nothing of it is to come any more. */
  giveWay: (() => void) | undefined;
  readonly #headStart: number;
  #since = performance.now();
  #waitingSince: number | undefined;
  #leaving: (() => void)[] = [];

  /** @param headStart bytes that it counts as having sent, so that one which has just come is not the slowest. */
  constructor(peer: string, bytes: Buffer, headStart: number) {
    this.peer = peer;
    this.bytes = bytes;
    this.#headStart = headStart;
  }

  /** In bytes per millisecond. The time that it waited for us does not count. */
  pace(now: number): number {
    return (this.length + this.#headStart) / ((this.#waitingSince ?? now) - this.#since + 1);
  }

  /** @returns false where it had to give way. */
  enter(places: Places): boolean {
    this.#leaving.push(() => places.leave(this));
    return places.enter(this);
  }

  waitFor(buffers: LargeBuffers, onBuffer: () => void): void {
    this.#leaving.push(() => buffers.leave(this));
    this.#waitingSince = performance.now();
    buffers.ask(this, (buffer) => {
      this.#since += performance.now() - (this.#waitingSince ?? 0);
      this.#waitingSince = undefined;
      this.bytes.copy(buffer, 0, 0, this.length);
      this.bytes = buffer;
      onBuffer();
    });
  }

  append(chunk: Buffer): void {
    // A length that was declared and is exceeded has been refused by node.
    chunk.copy(this.bytes, this.length);
    this.length += chunk.length;
  }

  /** Gives back what it holds. May be called again. */
  leave(): void {
    for (const giveBack of this.#leaving.splice(0)) giveBack();
  }
}

/** So many bodies at once, those included that are here whole and in use. */
class Places {
  readonly #most: number;
  readonly #taken = new Set<Arrival>();

  constructor(most: number) {
    this.#most = most;
  }

  /** @returns whether it has a place. */
  enter(arrival: Arrival): boolean {
    this.#taken.add(arrival);
    if (this.#taken.size > this.#most) this.#slowest()?.giveWay?.();
    return this.#taken.has(arrival);
  }

  leave(arrival: Arrival): void {
    this.#taken.delete(arrival);
  }

  /** What comes from one address shares one pace. */
  #slowest(): Arrival | undefined {
    const ofPeer = new Map<string, number>();
    for (const { peer } of this.#taken) ofPeer.set(peer, (ofPeer.get(peer) ?? 0) + 1);
    return slowestOf(this.#taken, (one, now) => one.pace(now) / (ofPeer.get(one.peer) ?? 1));
  }
}

/** Memory for large ones, used again for the next, since what is left to be collected still takes memory. */
class LargeBuffers {
  readonly #most: number;
  readonly #bytes: number;
  readonly #slowest: number;
  readonly #free: Buffer[] = [];
  readonly #given = new Map<Arrival, Buffer>();
  readonly #waiting = new Map<Arrival, (buffer: Buffer) => void>();
  #look: NodeJS.Timeout | undefined;

  constructor({ maxLargeInMemory, maxBytes, minLargeBytesPerS }: BodyLimits) {
    this.#most = maxLargeInMemory;
    this.#bytes = maxBytes;
    this.#slowest = minLargeBytesPerS / 1000;
  }

  /** In the order they came. */
  ask(arrival: Arrival, onBuffer: (buffer: Buffer) => void): void {
    this.#waiting.set(arrival, onBuffer);
    this.#serve();
  }

  /** Also one that still waits. */
  leave(arrival: Arrival): void {
    this.#waiting.delete(arrival);
    const buffer = this.#given.get(arrival);
    if (buffer === undefined) return;
    this.#given.delete(arrival);
    this.#free.push(buffer);
    this.#serve();
    if (this.#given.size === 0) this.#free.length = 0;
  }

  #serve(): void {
    clearTimeout(this.#look);
    for (const [arrival, onBuffer] of this.#waiting) {
      if (this.#given.size >= this.#most) break;
      this.#waiting.delete(arrival);
      const buffer = this.#free.pop() ?? Buffer.allocUnsafeSlow(this.#bytes);
      this.#given.set(arrival, buffer);
      onBuffer(buffer);
    }
    if (this.#waiting.size === 0) return;
    const slowest = slowestOf(this.#given.keys(), (one, now) => one.pace(now));
    // What it leaves serves the next.
    if (slowest && slowest.pace(performance.now()) < this.#slowest) slowest.giveWay?.();
    else this.#look = setTimeout(() => this.#serve(), LOOK_MS);
  }
}

/** Of those that are still on their way. */
function slowestOf(
  arrivals: Iterable<Arrival>,
  paceOf: (arrival: Arrival, now: number) => number,
): Arrival | undefined {
  const now = performance.now();
  const paces = [...arrivals].flatMap((arrival) =>
    arrival.giveWay === undefined ? [] : [{ arrival, pace: paceOf(arrival, now) }],
  );
  return paces.toSorted((a, b) => a.pace - b.pace)[0]?.arrival;
}

/** Node has refused anything that is no number of bytes. */
function declaredLength({ headers }: IncomingMessage): number | undefined {
  const length = headers["content-length"];
  return length === undefined ? undefined : Number(length);
}
