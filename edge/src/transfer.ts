import type { DeadlineClock, Timed } from "./deadline-clock.ts";
import type { Exchange } from "./exchange.ts";
import type { Destination, Forwarding, Outcome } from "./forwarding.ts";
import type { Refusal } from "./refusal.ts";
import { BODY_IDLE, bodyTooLarge, CLIENT_STALLED } from "./refusal-texts.ts";
import { hasHealthyOther, noteFailure, pickReplica, type Replica } from "./upstreams.ts";

export interface TransferParts {
  readonly clock: DeadlineClock;
  readonly onRetry: () => void;
  readonly onEjection: () => void;
}

/** How far an attempt had come when it failed. */
export interface Progress {
  /** Something was written to a connection: from here on it may have been executed. */
  readonly sent: boolean;
  /** The answer had begun, if only with its first byte. */
  readonly answered: boolean;
}

/** What stands before a function that is down says so in these words; they count like a connection that failed. */
const GATEWAY_FAILURES = new Set([502, 503, 504]);
/** As Kestrel's MinRequestBodyDataRate: whoever means to be served sends faster, and whoever sends slower holds a place. */
const DRIP_BYTES_PER_S = 240;
/** Who does not send for longer than this makes a pause, which the wait for the next piece bounds. */
const LONGEST_DRIP_GAP_MS = 4_000;
/** More interim answers (1xx) are no hints any more, but a way to keep the edge busy. */
const MAX_INTERIM_ANSWERS = 100;
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

/**
 * One request's way upstream and its answer's way back, by the rules that hold whoever moves the bytes: which replica, how
 * long each may be waited for, when it may be tried again, and what an end in the middle means. A lane extends it.
 */
export abstract class Transfer implements Timed {
  protected readonly forwarding: Forwarding;
  protected readonly destination: Destination;
  /** Of the deadline clock. */
  rosterIndex = -1;
  readonly #exchange: Exchange;
  readonly #parts: TransferParts;
  /** When the attempt under way began. */
  protected begunMs: number;
  readonly #totalDeadlineMs: number;
  /** Asked at present, and counted among its requests under way. */
  #replica: Replica | undefined;
  #retried = false;
  #interimAnswers = 0;
  #settled = false;
  #checkedMs: number;
  /** For how long the client has been sending its body, the longer part of pauses not counted. */
  #sendingMs = 0;
  protected answerBegun = false;
  protected upstreamDone = false;
  /** Since when the client leaves us with what it has not read. */
  protected unreadSinceMs: number | undefined;

  constructor(exchange: Exchange, forwarding: Forwarding, parts: TransferParts) {
    this.#exchange = exchange;
    this.forwarding = forwarding;
    this.#parts = parts;
    this.destination = forwarding.destination;
    this.begunMs = exchange.startedMs;
    this.#checkedMs = exchange.startedMs;
    const { totalMs } = forwarding.destination;
    this.#totalDeadlineMs = totalMs === null ? Number.POSITIVE_INFINITY : exchange.startedMs + totalMs;
  }

  begin(): void {
    this.#parts.clock.watch(this);
    this.#try(undefined);
  }

  /** Sends the request to this replica. */
  protected abstract attempt(replica: Replica): void;
  /** Ends the attempt under way: nothing of it is wanted any more, nor told. */
  protected abstract abort(): void;
  /** How far the attempt under way has come. */
  protected abstract get progress(): Progress;
  /** Lets go of the client's side; nobody is told anything any more. */
  protected abstract release(): void;
  /** Cuts the connection to the client, since a piece of an answer must not look whole. */
  protected abstract cut(): void;
  /** Whether what is not read is this answer, and not an earlier one on the connection. */
  protected abstract get isClientsTurn(): boolean;
  /** Whether a byte of the body was taken from the client: then it cannot be sent a second time. */
  protected abstract get bodyBegun(): boolean;
  /** Whether all of the body has come from the client; true where there is none. */
  protected abstract get bodyWhole(): boolean;
  /** Since when the client keeps us waiting for its body; `undefined` while it does not. */
  protected abstract get clientSinceMs(): number | undefined;
  /** Since when the upstream has everything it needs to go on; `undefined` while it waits for the client too. */
  protected abstract get upstreamSinceMs(): number | undefined;

  get settled(): boolean {
    return this.#settled;
  }

  check(nowMs: number): void {
    const { bodyIdleMs, writeIdleMs, failures } = this.destination;
    if (this.unreadSinceMs !== undefined && !this.isClientsTurn) this.unreadSinceMs = nowMs;
    const drips = this.#drips(nowMs);
    if (drips || isPast(this.clientSinceMs, bodyIdleMs, nowMs)) this.fail(BODY_IDLE);
    else if (isPast(this.unreadSinceMs, writeIdleMs, nowMs)) this.fail(CLIENT_STALLED);
    else if (nowMs > this.#totalDeadlineMs || this.#isAnswerLate(nowMs)) {
      if (this.#isUpstreamsFault(nowMs)) this.#countFailure();
      if (nowMs > this.#totalDeadlineMs || !this.#mayAskAnother(nowMs)) this.fail(failures.late);
      else this.#askAnother();
    }
  }

  #drips(nowMs: number): boolean {
    const passedMs = nowMs - this.#checkedMs;
    this.#checkedMs = nowMs;
    const { clientSinceMs } = this;
    if (clientSinceMs === undefined || nowMs - clientSinceMs > LONGEST_DRIP_GAP_MS) return false;
    this.#sendingMs += passedMs;
    return (
      this.#sendingMs > this.destination.bodyDripMs &&
      this.#exchange.bytesReceived < (this.#sendingMs / 1_000) * DRIP_BYTES_PER_S
    );
  }

  #isAnswerLate(nowMs: number): boolean {
    return !this.answerBegun && isPast(this.upstreamSinceMs, this.destination.firstByteMs, nowMs);
  }

  /** A client that sends slowly must not get a healthy replica ejected: it is the one that used the time up. */
  #isUpstreamsFault(nowMs: number): boolean {
    if (this.answerBegun || !this.bodyWhole) return false;
    if (this.#isAnswerLate(nowMs)) return true;
    return isPast(this.upstreamSinceMs, (nowMs - this.#exchange.startedMs) / 2, nowMs);
  }

  /** A replica that hangs has had its time. Only one that is known to answer is worth the client's patience again. */
  #mayAskAnother(nowMs: number): boolean {
    if (this.#replica === undefined || !this.#mayRetry(this.progress)) return false;
    return hasHealthyOther(this.destination.replicas(), this.#replica, nowMs);
  }

  #askAnother(): void {
    const late = this.#replica;
    this.abort();
    this.leaveReplica();
    this.#retry(late);
  }

  #retry(failed: Replica | undefined): void {
    this.#retried = true;
    this.#parts.onRetry();
    this.#try(failed);
  }

  #try(failed: Replica | undefined): void {
    if (failed !== undefined) this.begunMs = performance.now();
    const replica = pickReplica(this.destination.replicas(), failed);
    if (replica === undefined) {
      this.fail(this.destination.failures.absent);
      return;
    }
    this.#exchange.upstream = replica.id;
    this.#replica = replica;
    replica.inFlight += 1;
    this.attempt(replica);
  }

  /** The head of an interim answer, which is for this hop. */
  protected interimAnswer(): void {
    this.#interimAnswers += 1;
    if (this.#interimAnswers > MAX_INTERIM_ANSWERS) this.broken();
  }

  /** The head of an answer that may go on to the client. */
  protected answeredWith(status: number): void {
    if (GATEWAY_FAILURES.has(status)) this.#countFailure();
    else this.#replica?.succeeded();
    this.answerBegun = true;
  }

  /** The upstream did not speak HTTP as one may rely on. */
  protected broken(): void {
    this.#countFailure();
    this.fail(this.destination.failures.broken);
  }

  /** The upstream has said all, or will not go on: it is not asked any more. */
  protected leaveReplica(): void {
    if (this.#replica !== undefined) this.#replica.inFlight -= 1;
    this.#replica = undefined;
  }

  protected bodyTooLarge(): void {
    this.fail(bodyTooLarge(this.destination.maxBodyBytes));
  }

  protected attemptFailed(progress: Progress): void {
    if (this.#settled) return;
    if (this.answerBegun) {
      this.leaveReplica();
      this.fail(this.destination.failures.broken);
      return;
    }
    this.#countFailure();
    const failed = this.#replica;
    this.leaveReplica();
    if (this.#mayRetry(progress)) {
      this.#retry(failed);
      return;
    }
    const { unreachable, broken } = this.destination.failures;
    this.fail(progress.sent ? broken : unreachable);
  }

  /** Once, and only where it cannot be executed twice: nothing was sent, or sending it again is the same as sending it once. */
  #mayRetry({ sent, answered }: Progress): boolean {
    if (this.#retried) return false;
    if (!sent) return !this.bodyBegun;
    return (
      this.mayRepeat &&
      IDEMPOTENT.has(this.#exchange.method) &&
      this.#exchange.head?.hasBody === false &&
      !answered
    );
  }

  /** Whether what may have been executed may be asked for again, as far as the lane knows. */
  protected get mayRepeat(): boolean {
    return true;
  }

  #countFailure(): void {
    if (this.#replica !== undefined && noteFailure(this.#replica, this.destination.replicas())) {
      this.#parts.onEjection();
    }
  }

  /** Over without the upstream's answer, or with a piece of it: then the client must not take the piece for the whole. */
  protected fail(refusal: Refusal): void {
    if (this.#settled) return;
    const begun = this.answerBegun;
    if (begun) this.#exchange.reason = refusal.code;
    this.finish(begun ? { kind: "cut" } : { kind: "refused", refusal });
    if (begun) this.cut();
  }

  protected finish(outcome: Outcome): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#parts.clock.forget(this);
    if (!this.upstreamDone) this.abort();
    this.leaveReplica();
    this.release();
    this.#exchange.settled(outcome);
  }
}

function isPast(sinceMs: number | undefined, allowedMs: number, nowMs: number): boolean {
  return sinceMs !== undefined && nowMs - sinceMs > allowedMs;
}
