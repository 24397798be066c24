import { BranchName, CommitSha, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import { sha256 } from "../../src/ids.ts";
import { HostUnavailable } from "../../src/ports/source-host/host-errors.ts";
import type {
  InstallationState,
  OwnerFacts,
  RemoteHost,
  RepositoryFacts,
  RepositoryState,
} from "../../src/ports/source-host/remote-host.ts";
import type { SourceKey } from "../../src/ports/source-host/source-host.ts";

export interface Account {
  readonly id: string;
  login: string;
  kind: OwnerFacts["kind"];
}

export interface HostedRepository {
  readonly id: string;
  ownerId: string;
  name: string;
  /** Whether the platform may see it. */
  isLinked: boolean;
  pushes: number;
  /** Names of the functions that its stack file declares. */
  functions: readonly string[];
}

export type Call = "repository" | "installation" | "list" | "head" | "redeliver";

/** A source host that lives in this test: accounts and repositories that change, and a ledger of what it was asked. */
export class ScriptedHost {
  readonly instance: string;
  readonly host: RemoteHost;
  readonly accounts = new Map<string, Account>();
  readonly repositories = new Map<string, HostedRepository>();
  readonly ledger: { readonly call: Call; readonly of: string; readonly at: number }[] = [];
  /** Says what a call fails with. */
  fails: (call: Call, of: string) => boolean = () => false;
  /** Repositories that the list leaves out although they are linked. */
  readonly unlisted = new Set<string>();
  /** Repositories that it denies although they are linked. */
  readonly denied = new Set<string>();
  /** Is run while an answer is on its way. */
  meanwhile: (call: Call, of: string) => Promise<void> = async () => undefined;
  showsPushes = true;
  onRedeliver: () => number = () => 0;
  readonly #now: () => number;
  #count = 0;

  constructor(instance: string, now: () => number = Date.now) {
    this.instance = instance;
    this.#now = now;
    this.host = this.#asHost();
  }

  addAccount(login: string, kind: OwnerFacts["kind"] = "person"): Account {
    const account = { id: this.#nextId(), login, kind };
    this.accounts.set(account.id, account);
    return account;
  }

  addRepository(owner: Account, name: string, functions: readonly string[] = []): HostedRepository {
    const repository = { id: this.#nextId(), ownerId: owner.id, name, isLinked: true, pushes: 1, functions };
    this.repositories.set(repository.id, repository);
    return repository;
  }

  keyOf({ id, ownerId }: HostedRepository): SourceKey {
    return { id, installation: installationOf(ownerId) };
  }

  headOf({ id, pushes }: HostedRepository): CommitSha {
    return CommitSha.parse(sha256(`${this.instance} ${id} ${pushes}`).slice(0, 40));
  }

  countOf(call: Call): number {
    return this.ledger.filter((entry) => entry.call === call).length;
  }

  #asHost(): RemoteHost {
    return {
      kind: "github",
      instance: this.instance,
      title: "The scripted host",
      webUrl: "https://github.test",
      linkUrl: undefined,
      topic: undefined,
      fetchRepository: ({ id, installation }) =>
        this.#answer("repository", id, () => this.#stateBy(installation, id)),
      fetchInstallation: (id) => this.#answer("installation", id, () => this.#installation(id)),
      listRepositories: () =>
        this.#answer("list", "", () => this.#linked().filter(({ key }) => !this.unlisted.has(key.id))),
      fetchHead: ({ id }) =>
        this.#answer("head", id, () => {
          const repository = this.repositories.get(id);
          return repository && { commit: this.headOf(repository), message: "change", author: "a" };
        }),
      redeliver: () => this.#answer("redeliver", "", () => this.onRedeliver()),
      signIn: undefined,
      verify: unused,
      parse: unused,
      fetchCommit: unused,
      reportStatus: unused,
      reportDeployment: unused,
      settlePush: unused,
      tidy: unused,
      forget: async () => undefined,
      [Symbol.asyncDispose]: async () => undefined,
    };
  }

  async #answer<T>(call: Call, of: string, make: () => T): Promise<T> {
    this.ledger.push({ call, of, at: this.#now() });
    const answer = make();
    await this.meanwhile(call, of);
    if (this.fails(call, of)) throw new HostUnavailable("The scripted host is not answering.");
    return answer;
  }

  #linked(): RepositoryFacts[] {
    return [...this.repositories.values()].flatMap((repository) => {
      const state = this.#stateOf(repository.id);
      return state.kind === "linked" ? [state.facts] : [];
    });
  }

  #stateBy(installation: string | undefined, id: string): RepositoryState {
    const state = this.#stateOf(id);
    const isOver = state.kind === "linked" && state.facts.key.installation !== installation;
    return isOver ? { kind: "unlinked", reason: "The installation is over." } : state;
  }

  #stateOf(id: string): RepositoryState {
    const repository = this.repositories.get(id);
    const owner = repository && this.accounts.get(repository.ownerId);
    if (!repository || !owner) return { kind: "unlinked", reason: "There is no such repository any more." };
    if (!repository.isLinked || this.denied.has(id))
      return { kind: "unlinked", reason: "The platform was taken off it." };
    return { kind: "linked", facts: this.#factsOf(repository, owner) };
  }

  #factsOf(repository: HostedRepository, owner: Account): RepositoryFacts {
    const fullName = `${owner.login}/${repository.name}`;
    return {
      key: this.keyOf(repository),
      owner: { sourceId: owner.id, login: owner.login, kind: owner.kind },
      name: RepositoryName.parse(repository.name),
      fullName,
      defaultBranch: BranchName.parse("main"),
      isPrivate: false,
      webUrl: `https://${this.instance}/${fullName}`,
      pushedAt: this.showsPushes ? repository.pushes : undefined,
    };
  }

  #installation(installation: string): InstallationState {
    const owner = [...this.accounts.values()].find(({ id }) => installationOf(id) === installation);
    const repositories = this.#linked().filter(({ key }) => key.installation === installation);
    if (owner === undefined || repositories.length === 0)
      return { kind: "removed", reason: "The installation was removed." };
    const { id, login, kind } = owner;
    return { kind: "installed", owner: { sourceId: id, login, kind }, repositories };
  }

  #nextId(): string {
    this.#count += 1;
    return String(this.#count);
  }
}

export function installationOf(accountId: string): string {
  return `i${accountId}`;
}

function unused(): never {
  throw new Error("nobody asks this host for that");
}
