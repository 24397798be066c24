import type { Logger } from "../logger.ts";
import type { PersonAbout, PersonGrants } from "./person-grants.ts";

/** Of one host. */
const AT_ONCE = 8;

export interface RoundPorts {
  readonly grants: PersonGrants;
  readonly logger: Logger;
  /** Between two rounds. */
  readonly roundMs: number;
  /** Whether the host is to be asked about the person in this round. */
  isDue(person: PersonAbout): Promise<boolean>;
  /** Never rejects. */
  ask(subject: string): Promise<void>;
}

/**
 * Has hosts asked about everybody who is about, round after round. Each host apart from the others, so that one which is
 * silent keeps nobody of another waiting.
 */
export class MembershipRounds implements AsyncDisposable {
  readonly #ports: RoundPorts;
  /** Hosts that are asked about their people now. */
  readonly #asked = new Map<string, Promise<void>>();
  readonly #stop = new AbortController();
  /** Ends the pause between two rounds. */
  #wake = Promise.withResolvers<void>();
  #rounds: Promise<void> = Promise.resolve();

  constructor(ports: RoundPorts) {
    this.#ports = ports;
  }

  /** Goes on in the background until this is disposed. */
  start(): void {
    this.#rounds = this.#goOn();
  }

  /** Something changed: the next round begins at once. */
  soon(): void {
    this.#wake.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#wake.resolve();
    await this.#rounds;
    await Promise.all(this.#asked.values());
  }

  async #goOn(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      this.#wake = Promise.withResolvers<void>();
      await this.#goRound().catch((error: unknown) =>
        this.#ports.logger.error({ err: error }, "memberships could not be looked at; trying again"),
      );
      const pause = AbortSignal.any([signal, AbortSignal.timeout(this.#ports.roundMs)]);
      await Promise.race([this.#wake.promise, aborted(pause)]);
    }
  }

  async #goRound(): Promise<void> {
    const { grants, isDue } = this.#ports;
    for (const instance of await grants.instances()) {
      if (this.#asked.has(instance)) continue;
      const due: string[] = [];
      for (const person of await grants.peopleAbout(instance))
        if (await isDue(person)) due.push(person.subject);
      const asking = this.#askAbout(due).finally(() => this.#asked.delete(instance));
      this.#asked.set(instance, asking);
    }
  }

  async #askAbout(people: readonly string[]): Promise<void> {
    const waiting = people.toReversed();
    const askNext = async () => {
      for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
        if (this.#stop.signal.aborted) return;
        await this.#ports.ask(next);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, askNext));
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
