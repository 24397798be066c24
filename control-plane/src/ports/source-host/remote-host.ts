import type { BranchName, CommitSha, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import type { Role } from "../../role.ts";
import type { SourceHost, SourceKey } from "./source-host.ts";

export type RemoteHostKind = "github" | "gitlab" | "bitbucket-cloud" | "bitbucket-datacenter";

/**
 * A source host that lives elsewhere. What it sends (deliveries) is a hint that something changed; what is true is what it
 * answers when it is asked by id. Whatever asks it rejects with `HostUnavailable` where there is no answer to go by, and never
 * takes that for a "no": absence is only what the host says in so many words to a credential that works.
 */
export interface RemoteHost extends SourceHost {
  readonly kind: RemoteHostKind;
  /** `github.com`, `gitlab.example.com/git`: the host and path of its address. Part of every identity, so it never changes. */
  readonly instance: string;
  /** For people: `GitHub`, `GitLab (gitlab.example.com)`. */
  readonly title: string;

  readonly webUrl: string;
  /** Where a person links repositories with one click (GitHub: installs the App); `undefined` for hosts without such a page. */
  readonly linkUrl: string | undefined;
  /** What marks a repository as linked, where that is a topic (GitLab). */
  readonly topic: string | undefined;

  /** Whether a delivery is the host's own, by its bytes as they came. Nothing of them is parsed for that. */
  verify(delivery: RawDelivery): Promise<Verdict>;
  /** What an authentic delivery says. Throws nothing: what cannot be read is `ignored`, with the reason. */
  parse(event: string, body: string): Delivery;

  /** The repository as it is now, by its id. */
  fetchRepository(key: SourceKey, signal: AbortSignal): Promise<RepositoryState>;
  /** All that is linked now through this grant; `removed` where the host positively says that there is no such grant any more. */
  fetchInstallation(installation: string, signal: AbortSignal): Promise<InstallationState>;
  /** All that is linked now, at the whole host. Complete, or it rejects. */
  listRepositories(signal: AbortSignal): Promise<readonly RepositoryFacts[]>;
  /** The newest commit of the branch; `undefined` where there is no such branch. */
  fetchHead(key: SourceKey, branch: BranchName, signal: AbortSignal): Promise<Head | undefined>;
  /** Asks the host to send again what it could not deliver since then. @returns how many; 0 for hosts that cannot. */
  redeliver(since: Date, signal: AbortSignal): Promise<number>;

  /** `undefined` where nobody can sign in with this host, since it has no OAuth client here. */
  readonly signIn: SignInProvider | undefined;
}

/** A request that claims to come from the host. Header names are lower-case. */
export interface RawDelivery {
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: Buffer;
}

export type Verdict =
  | {
      readonly kind: "authentic";
      /** Unique for each delivery and the same when it is sent again; `undefined` where the host gives none. */
      readonly deliveryId: string | undefined;
      readonly event: string;
    }
  /** `reason` is for our log: whoever sent it is told no more than that it is refused. */
  | { readonly kind: "refused"; readonly reason: string };

/** What an authentic delivery says happened: ids to ask by, and nothing that is believed about them. */
export type Delivery =
  | PushDelivery
  /** Several branches moved with one push, which some hosts tell in one delivery. */
  | { readonly kind: "pushes"; readonly pushes: readonly PushDelivery[] }
  /** Linked, unlinked, renamed, transferred, made private, deleted: each of them is to be looked at. */
  | { readonly kind: "repositories"; readonly repositories: readonly SourceKey[] }
  /** Made, removed, suspended: everything behind it is to be looked at. */
  | { readonly kind: "installation"; readonly installation: string }
  /** Who may do what changed, for this person or (`undefined`) for anybody of the owner. */
  | { readonly kind: "memberships"; readonly person: string | undefined; readonly owner: string | undefined }
  /** Somebody pressed the host's own re-run button. */
  | {
      readonly kind: "rerun";
      readonly repository: SourceKey;
      readonly commit: CommitSha;
      readonly person: string | undefined;
    }
  | { readonly kind: "ignored"; readonly reason: string };

export interface PushDelivery {
  readonly kind: "push";
  readonly repository: SourceKey;
  readonly branch: BranchName;
  readonly before: CommitSha | undefined;
  /** `undefined` where the branch was deleted. */
  readonly commit: CommitSha | undefined;
  readonly message: string;
  readonly author: string;
  /** The host's id of who pushed. */
  readonly pusher: string | undefined;
}

export interface OwnerFacts {
  /** The host's own id of the account, which survives renames. */
  readonly sourceId: string;
  readonly login: string;
  readonly kind: "person" | "organization";
}

export interface RepositoryFacts {
  readonly key: SourceKey;
  readonly owner: OwnerFacts;
  /** Within the owner. */
  readonly name: RepositoryName;
  /** As the host writes it in URLs: `alice/site`, `group/team/site`. */
  readonly fullName: string;
  readonly defaultBranch: BranchName | undefined;
  readonly isPrivate: boolean;
  readonly webUrl: string;
  /**
   * When something was last pushed to it, milliseconds since the epoch, where the host says so without being asked once more.
   * Only ever compared with what it said before.
   */
  readonly pushedAt?: number | undefined;
}

export type RepositoryState =
  | { readonly kind: "linked"; readonly facts: RepositoryFacts }
  /** The host positively says that it is gone, or that it is not (or no longer) linked. `reason` is for people. */
  | { readonly kind: "unlinked"; readonly reason: string };

export type InstallationState =
  | {
      readonly kind: "installed";
      readonly owner: OwnerFacts;
      readonly repositories: readonly RepositoryFacts[];
    }
  | { readonly kind: "removed"; readonly reason: string };

export interface Head {
  readonly commit: CommitSha;
  readonly message: string;
  readonly author: string;
}

/** OAuth 2.0 (RFC 6749) with PKCE (RFC 7636, S256). */
export interface SignInProvider {
  authorizeUrl(request: {
    readonly state: string;
    readonly codeChallenge: string;
    readonly redirectUri: string;
  }): URL;
  /** @throws SignInRefused where the host does not take the code. */
  exchange(
    answer: { readonly code: string; readonly codeVerifier: string; readonly redirectUri: string },
    signal: AbortSignal,
  ): Promise<{ readonly identity: Identity; readonly grant: PersonGrant }>;
  /**
   * What the person may do now, for each owner that is theirs on the host, with the grant to go on with (refreshed where it was
   * about to expire). @throws GrantRevoked where the host says that the grant counts no more.
   */
  fetchAccess(
    grant: PersonGrant,
    signal: AbortSignal,
  ): Promise<{ readonly grant: PersonGrant; readonly owners: readonly OwnerAccess[] }>;
}

export interface Identity {
  /** The host's own id of the person's account. */
  readonly sourceId: string;
  readonly login: string;
  /** For people; the login where the host knows no other. */
  readonly name: string;
}

/** What the host gave us to ask on the person's behalf. Sealed wherever it is kept. */
export interface PersonGrant {
  readonly accessToken: string;
  readonly refreshToken: string | undefined;
  /** Milliseconds since the epoch; `undefined` where it does not say. */
  readonly expiresAt: number | undefined;
}

export interface OwnerAccess {
  readonly owner: OwnerFacts;
  readonly role: Role;
}
