import { randomBytes } from "node:crypto";
import { must } from "@openfaas-cloud/shared/must.ts";
import type { CommitSha } from "@openfaas-cloud/shared/names.ts";

export interface Account {
  readonly id: number;
  login: string;
  readonly type: "User" | "Organization" | "Enterprise";
}

export type Permission = "pull" | "push" | "admin";

export interface Repository {
  readonly id: number;
  owner: Account;
  name: string;
  /** Full names that it had before, in lower case; they lead to it. */
  readonly formerNames: Set<string>;
  isPrivate: boolean;
  isArchived: boolean;
  defaultBranch: string;
  /** What people beside its owner may do. */
  readonly collaborators: Map<Account, Permission>;
}

export interface Installation {
  readonly id: number;
  readonly account: Account;
  /** Repositories that it covers. */
  readonly repositories: Set<Repository>;
  suspendedAt: string | undefined;
}

export interface InstallationToken {
  readonly installation: Installation;
  /** `undefined` for all that the installation covers. */
  readonly repositories: ReadonlySet<Repository> | undefined;
  readonly permissions: Readonly<Record<string, string>>;
  readonly expiresAt: number;
  /** How often it is still taken for unknown, as not every part of GitHub learns of a token at once. */
  lag: number;
}

export interface PersonToken {
  readonly person: Account;
  readonly expiresAt: number;
}

export interface CheckRun {
  readonly id: number;
  readonly repository: Repository;
  readonly commit: string;
  /** As it was last given, its annotations apart. */
  given: Record<string, unknown>;
  readonly annotations: unknown[];
}

export interface Status {
  readonly id: number;
  readonly repository: Repository;
  readonly commit: string;
  readonly given: Record<string, unknown>;
}

export interface Deployment {
  readonly id: number;
  readonly repository: Repository;
  readonly given: Record<string, unknown>;
  readonly statuses: Record<string, unknown>[];
}

/** An attempt to bring an event to the App's hook. */
export interface HookDelivery {
  readonly id: number;
  readonly guid: string;
  readonly event: string;
  readonly action: string | null;
  readonly body: string;
  readonly deliveredAt: number;
  readonly isRedelivery: boolean;
  /** 0 where nobody answered. */
  readonly status: number;
}

/** Everything that there is at the fake, for one App. */
export class World {
  #lastId = 1000;
  /** Of tokens that are made from now on. */
  tokenLag = 0;
  /** What no installation grants the App, though it asks for it: nobody has accepted that yet. */
  readonly withheld = new Set<string>();
  readonly accounts = new Map<string, Account>();
  readonly repositories = new Map<number, Repository>();
  readonly installations = new Map<number, Installation>();
  readonly installationTokens = new Map<string, InstallationToken>();
  readonly personTokens = new Map<string, PersonToken>();
  /** New names by old ones, of every repository. */
  readonly renamedBranches = new Map<string, string>();
  readonly refreshTokens = new Map<string, Account>();
  /** Of organisations, by person. */
  readonly memberships = new Map<Account, Map<Account, "admin" | "member">>();
  readonly checkRuns: CheckRun[] = [];
  readonly statuses: Status[] = [];
  readonly deployments: Deployment[] = [];
  /** The newest first. */
  readonly hookDeliveries: HookDelivery[] = [];
  /** Commits that a repository is known to hold. */
  readonly commits = new Map<Repository, Set<CommitSha>>();

  nextId(): number {
    this.#lastId += 1;
    return this.#lastId;
  }

  addAccount(login: string, type: Account["type"]): Account {
    const account = { id: this.nextId(), login, type };
    this.accounts.set(login.toLowerCase(), account);
    return account;
  }

  account(login: string): Account {
    return must(this.accounts.get(login.toLowerCase()), `the account ${login}`);
  }

  addRepository(owner: Account, name: string, isPrivate: boolean): Repository {
    const repository: Repository = {
      id: this.nextId(),
      owner,
      name,
      formerNames: new Set(),
      isPrivate,
      isArchived: false,
      defaultBranch: "main",
      collaborators: new Map(),
    };
    this.repositories.set(repository.id, repository);
    return repository;
  }

  install(account: Account): Installation {
    const found = this.installationOf(account);
    if (found !== undefined) return found;
    const installation = {
      id: this.nextId(),
      account,
      repositories: new Set<Repository>(),
      suspendedAt: undefined,
    };
    this.installations.set(installation.id, installation);
    return installation;
  }

  installationOf(account: Account): Installation | undefined {
    return [...this.installations.values()].find((it) => it.account === account);
  }

  removeRepository(repository: Repository): void {
    this.repositories.delete(repository.id);
    for (const { repositories } of this.installations.values()) repositories.delete(repository);
  }

  /** By its name, or one that it had. */
  findRepository(fullName: string): Repository | undefined {
    const wanted = fullName.toLowerCase();
    const all = [...this.repositories.values()];
    return (
      all.find((it) => fullNameOf(it).toLowerCase() === wanted) ??
      all.find((it) => it.formerNames.has(wanted))
    );
  }

  /** What a person may do with it by themselves. */
  permissionOf(person: Account, repository: Repository): Permission | undefined {
    if (repository.owner === person) return "admin";
    if (this.memberships.get(repository.owner)?.get(person) === "admin") return "admin";
    return repository.collaborators.get(person);
  }

  /** Tokens look as GitHub's do: by their beginning one sees what they are. */
  newToken(prefix: "ghs_" | "ghu_" | "ghr_"): string {
    return prefix + randomBytes(27).toString("base64url").replaceAll(/[-_]/g, "x");
  }
}

export function fullNameOf({ owner, name }: Repository): string {
  return `${owner.login}/${name}`;
}
