import { createHmac, timingSafeEqual } from "node:crypto";
import { BranchName, CommitSha, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import type {
  Delivery,
  Head,
  InstallationState,
  RawDelivery,
  RemoteHost,
  RemoteHostKind,
  RepositoryFacts,
  RepositoryState,
  Verdict,
} from "../../src/ports/source-host/remote-host.ts";
import type { SourceKey } from "../../src/ports/source-host/source-host.ts";
import { Rejected } from "../../src/rejected.ts";

export const SIGNATURE = "x-hub-signature-256";
export const MAIN = BranchName.parse("main");

/** A repository at the scripted host, as it is there and now. */
export interface ScriptedRepository {
  facts: RepositoryFacts;
  /** Why the host says that it is not linked. */
  unlinked: string | undefined;
  readonly branches: Map<string, Head>;
}

/** A remote host whose world is a map. It signs and verifies as GitHub does, and counts what is asked of it. */
export class ScriptedHost implements RemoteHost {
  readonly kind: RemoteHostKind;
  readonly instance: string;
  readonly title: string;
  readonly secret: string;
  readonly signIn = undefined;
  readonly webUrl = "https://github.test";
  readonly linkUrl = undefined;
  readonly topic = undefined;
  readonly repositories = new Map<string, ScriptedRepository>();
  readonly asked = { parse: 0, facts: 0, head: 0 };
  /** Called before each answer; what it throws is the answer. */
  beforeAnswer: (what: "facts" | "head" | "commit", signal: AbortSignal) => Promise<void> | void = () =>
    undefined;

  constructor(options: { instance?: string; kind?: RemoteHostKind; title?: string; secret?: string } = {}) {
    this.instance = options.instance ?? "github.test";
    this.kind = options.kind ?? "github";
    this.title = options.title ?? "GitHub";
    this.secret = options.secret ?? "a secret of the host's own";
  }

  add(id: string, name = `repo-${id}`): ScriptedRepository {
    const repository: ScriptedRepository = {
      facts: {
        key: { id, installation: "7" },
        owner: { sourceId: "a", login: "a", kind: "person" },
        name: RepositoryName.parse(name),
        fullName: `a/${name}`,
        defaultBranch: MAIN,
        isPrivate: false,
        webUrl: `https://${this.instance}/a/${name}`,
      },
      unlinked: undefined,
      branches: new Map(),
    };
    this.repositories.set(id, repository);
    return repository;
  }

  /** Moves the branch. @returns what the host would deliver for it. */
  push(id: string, commit: CommitSha | undefined, branch: BranchName = MAIN): PushFact {
    const { branches } = this.#get(id);
    const before = branches.get(branch)?.commit;
    if (commit === undefined) branches.delete(branch);
    else branches.set(branch, { commit, message: `change ${commit}`, author: "somebody" });
    return { kind: "push", repository: id, branch, before, commit };
  }

  sign(body: string | Buffer): string {
    return `sha256=${createHmac("sha256", this.secret).update(body).digest("hex")}`;
  }

  /** What the host sends for it, as bytes and headers. */
  deliver(fact: Fact, id: string | undefined): { body: Buffer; headers: Record<string, string> } {
    const body = Buffer.from(JSON.stringify(fact));
    return {
      body,
      headers: {
        [SIGNATURE]: this.sign(body),
        "x-event": fact.kind,
        ...(id === undefined ? {} : { "x-delivery": id }),
      },
    };
  }

  async verify({ headers, body }: RawDelivery): Promise<Verdict> {
    const signature = headers[SIGNATURE];
    if (typeof signature !== "string") return { kind: "refused", reason: "there is not one signature" };
    const [given, ours] = [Buffer.from(signature), Buffer.from(this.sign(body))];
    if (given.length !== ours.length || !timingSafeEqual(given, ours))
      return { kind: "refused", reason: "the signature is another" };
    const id = headers["x-delivery"];
    return {
      kind: "authentic",
      deliveryId: typeof id === "string" ? id : undefined,
      event: String(headers["x-event"]),
    };
  }

  parse(_event: string, body: string): Delivery {
    this.asked.parse++;
    const fact = JSON.parse(body) as Fact;
    switch (fact.kind) {
      case "push":
        return {
          ...{
            kind: "push",
            repository: this.keyOf(fact.repository),
            before: fact.before,
            commit: fact.commit,
          },
          branch: BranchName.parse(fact.branch),
          ...{ message: "as delivered", author: "somebody", pusher: "42" },
        };
      case "repositories":
        return { kind: "repositories", repositories: fact.repositories.map((id) => this.keyOf(id)) };
      case "rerun":
        return { kind: "rerun", repository: this.keyOf(fact.repository), commit: fact.commit, person: "42" };
      case "installation":
      case "memberships":
      case "ignored":
        return fact;
    }
  }

  keyOf(id: string): SourceKey {
    return { id, installation: "7" };
  }

  async fetchRepository({ id }: SourceKey, signal: AbortSignal): Promise<RepositoryState> {
    this.asked.facts++;
    await this.beforeAnswer("facts", signal);
    const repository = this.repositories.get(id);
    if (!repository) return { kind: "unlinked", reason: "it is gone" };
    if (repository.unlinked !== undefined) return { kind: "unlinked", reason: repository.unlinked };
    return { kind: "linked", facts: repository.facts };
  }

  async fetchInstallation(_installation: string, signal: AbortSignal): Promise<InstallationState> {
    await this.beforeAnswer("facts", signal);
    const repositories = [...this.repositories.values()].map(({ facts }) => facts);
    return { kind: "installed", owner: { sourceId: "a", login: "a", kind: "person" }, repositories };
  }

  async listRepositories(): Promise<readonly RepositoryFacts[]> {
    return [...this.repositories.values()].map(({ facts }) => facts);
  }

  async fetchHead({ id }: SourceKey, branch: BranchName, signal: AbortSignal): Promise<Head | undefined> {
    this.asked.head++;
    // As it is when the host is asked, and possibly not any more when the answer arrives.
    const head = this.#get(id).branches.get(branch);
    await this.beforeAnswer("head", signal);
    return head;
  }

  async fetchCommit(
    _repository: unknown,
    _commit: CommitSha,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<never> {
    await this.beforeAnswer("commit", signal);
    throw new Rejected("source-missing", "There are no files at the scripted host.");
  }

  redeliver = async () => 0;
  reportStatus = async () => undefined;
  reportDeployment = async () => undefined;
  settlePush = async () => undefined;
  forget = async () => undefined;
  tidy = async () => undefined;
  async [Symbol.asyncDispose](): Promise<void> {
    this.repositories.clear();
  }

  #get(id: string): ScriptedRepository {
    const repository = this.repositories.get(id);
    if (!repository) throw new Error(`the scripted host has no repository ${id}`);
    return repository;
  }
}

export interface PushFact {
  readonly kind: "push";
  readonly repository: string;
  readonly branch: string;
  readonly before: CommitSha | undefined;
  readonly commit: CommitSha | undefined;
}

export type Fact =
  | PushFact
  | { readonly kind: "repositories"; readonly repositories: readonly string[] }
  | { readonly kind: "rerun"; readonly repository: string; readonly commit: CommitSha }
  | Extract<Delivery, { readonly kind: "installation" | "memberships" | "ignored" }>;

/** A commit id that can be told apart from others at a glance. */
export function commitOf(number: number): CommitSha {
  return CommitSha.parse(number.toString(16).padStart(8, "0").padEnd(40, "c"));
}
