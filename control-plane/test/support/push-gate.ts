import type { BranchName, OwnerSlug, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import type { PushGate, PushVerdict } from "../../src/ports/source-host/push-gate.ts";
import { EMBEDDED, type Push, type RepositoryRef } from "../../src/ports/source-host/source-host.ts";

type Stored = RepositoryRef & { defaultBranch: BranchName | undefined };

/** A run under a test's control. */
export interface ControlledRun {
  readonly verdict: PushVerdict;
  print(line: string): void;
  finish(outcome: { readonly succeeded: boolean; readonly message: string }): void;
}

export function controlledRun(runId = "run-1"): ControlledRun {
  const lines: string[] = [];
  let wake = Promise.withResolvers<void>();
  let ended = false;
  const outcome = Promise.withResolvers<{ succeeded: boolean; message: string }>();
  async function* output() {
    for (;;) {
      const line = lines.shift();
      if (line !== undefined) yield line;
      else if (ended) return;
      else await wake.promise;
    }
  }
  const notify = () => {
    wake.resolve();
    wake = Promise.withResolvers();
  };
  return {
    verdict: { kind: "run", runId, output: output(), outcome: outcome.promise },
    print(line) {
      lines.push(line);
      notify();
    },
    finish(result) {
      ended = true;
      outcome.resolve(result);
      notify();
    },
  };
}

/**
 * The platform as the embedded source host sees it, in memory. Tokens are `token-of-<person>`; a person may write to the
 * owner of the same name. What becomes of a push is up to `decide`: by default its run succeeds at once on the default branch.
 */
export class MemoryPushGate implements PushGate {
  readonly repositories = new Map<string, Stored>();
  readonly pushes: Push[] = [];
  decide: (push: Push) => PushVerdict | Promise<PushVerdict> = (push) => this.succeedOnDefaultBranch(push);
  /** Why people may not, where it is not what strangers are told. */
  reason: string | undefined;
  /** What every token may. */
  may = { read: true, write: true };
  readonly #people: ReadonlySet<string>;
  #waiting: { readonly count: number; readonly resolve: () => void }[] = [];

  constructor(people: readonly string[] = ["alice", "bob"]) {
    this.#people = new Set(people);
  }

  succeedOnDefaultBranch(push: Push): PushVerdict {
    const repository = this.repositories.get(`${push.repository.owner}/${push.repository.name}`);
    if (repository?.defaultBranch !== push.branch)
      return { kind: "accepted", note: `${push.branch}: stored, not deployed.` };
    const run = controlledRun();
    run.finish({ succeeded: true, message: "hello is live" });
    return run.verdict;
  }

  /** Resolves when so many pushes have come. */
  async pushed(count: number): Promise<void> {
    if (this.pushes.length >= count) return;
    await new Promise<void>((resolve) => this.#waiting.push({ count, resolve }));
  }

  async authenticate(token: string) {
    const person = token.replace(/^token-of-/, "");
    return this.#people.has(person) && person !== token
      ? { subject: `local:${person}`, name: person, may: this.may }
      : undefined;
  }

  async mayAccess(person: { readonly name: string }, owner: OwnerSlug) {
    return person.name === owner;
  }

  async whyNot() {
    return this.reason;
  }

  async findRepository(owner: OwnerSlug, name: RepositoryName) {
    return this.repositories.get(`${owner}/${name}`);
  }

  async ensureRepository(owner: OwnerSlug, name: RepositoryName) {
    const known = this.repositories.get(`${owner}/${name}`);
    const repository = known ?? {
      repositoryId: `r${this.repositories.size + 1}`,
      owner,
      name,
      host: EMBEDDED,
      source: undefined,
      defaultBranch: undefined,
    };
    this.repositories.set(`${owner}/${name}`, repository);
    return repository;
  }

  async setDefaultBranch(repository: RepositoryRef, branch: BranchName) {
    const stored = this.repositories.get(`${repository.owner}/${repository.name}`);
    if (stored !== undefined) stored.defaultBranch = branch;
  }

  async push(push: Push): Promise<PushVerdict> {
    this.pushes.push(push);
    for (const waiting of this.#waiting) if (this.pushes.length >= waiting.count) waiting.resolve();
    return this.decide(push);
  }
}
