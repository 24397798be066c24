/** What the dashboard is shown: plain data, times in milliseconds since the epoch. */
import type { FunctionState } from "../function-state.ts";

export interface FunctionSummary {
  readonly id: string;
  readonly owner: string;
  readonly name: string;
  readonly url: string;
  readonly state: FunctionState;
  readonly replicas: { readonly ready: number; readonly wanted: number };
  readonly repository: string;
  readonly branch: string;
  readonly commit: string;
  readonly deployedAt: number;
  /** Answers of the last 24 hours, whatever their code. */
  readonly invocations: number;
}

export interface FunctionDetail extends FunctionSummary {
  readonly language: string;
  readonly access: "public" | "signed-in" | "members" | "token";
  readonly artifact: string;
  readonly revision: string;
  readonly memoryLimitBytes: number;
  /** Names only. */
  readonly environment: readonly string[];
  readonly secrets: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** Where people see it, for a repository of another source host. */
  readonly repositoryUrl: string | undefined;
  /** For one of the platform's own git. */
  readonly cloneUrl: string | undefined;
  readonly commitMessage: string;
  readonly commitAuthor: string;
  readonly runId: string;
  readonly replicaList: readonly ReplicaView[];
}

export interface ReplicaView {
  readonly id: string;
  readonly state: "starting" | "ready" | "backing-off";
  readonly restarts: number;
  readonly lastExit: string | undefined;
}

export interface UsageWindow {
  /** Answers 200 to 399. */
  readonly success: number;
  readonly failure: number;
  /** Milliseconds, read off the histogram; `undefined` where nothing was invoked. */
  readonly p50Ms: number | undefined;
  readonly p95Ms: number | undefined;
}

export interface FunctionUsage {
  readonly hour: UsageWindow;
  readonly day: UsageWindow;
  /** Oldest first; one for each five minutes of the last hour and each hour of the last day. */
  readonly lastHour: readonly UsageBar[];
  readonly lastDay: readonly UsageBar[];
}

export interface UsageBar {
  readonly from: number;
  readonly success: number;
  readonly failure: number;
}

/** `skipped`: there was nothing to deploy, and nobody has to do anything about it. */
export type RunState = "queued" | "running" | "succeeded" | "failed" | "skipped" | "superseded" | "cancelled";

export interface RunSummary {
  readonly id: string;
  readonly owner: string;
  readonly repository: string;
  readonly branch: string;
  readonly commit: string;
  readonly message: string;
  readonly author: string;
  /** `link`: the repository was linked; `reconcile`: its branch had moved and no delivery had said so. */
  readonly trigger: "push" | "redeploy" | "link" | "reconcile";
  readonly state: RunState;
  /** Why it ended so, in a sentence; `undefined` while it has not ended or where it succeeded. */
  readonly reason: string | undefined;
  readonly createdAt: number;
  readonly startedAt: number | undefined;
  readonly finishedAt: number | undefined;
}

export type StageName = "checkout" | "plan" | "build" | "deploy" | "publish" | "prune";
export type StageState = "running" | "succeeded" | "failed" | "skipped";

export interface StageView {
  readonly name: StageName;
  /** The function it worked on; `undefined` for stages of the whole run. */
  readonly function: string | undefined;
  readonly state: StageState;
  readonly startedAt: number;
  readonly finishedAt: number | undefined;
  /** What came of it or went wrong, in a sentence. */
  readonly detail: string | undefined;
}

export interface RunDetail extends RunSummary {
  readonly stages: readonly StageView[];
  /** Functions of this commit that are live now. */
  readonly functions: readonly { readonly name: string; readonly url: string }[];
  /** Runs before this one in the queue, where it is queued. */
  readonly ahead: number | undefined;
  /** Keys of the stack file that have no effect here, each with its reason. */
  readonly ignoredKeys: readonly { readonly key: string; readonly reason: string }[];
}

export interface RepositoryView {
  readonly owner: string;
  readonly name: string;
  /** What people call the source host; `undefined` for the platform's own git. */
  readonly host: string | undefined;
  readonly webUrl: string | undefined;
  readonly isPrivate: boolean;
  /** Which branch deploys; `undefined` where nothing was pushed yet. */
  readonly branch: string | undefined;
  /** Live ones. */
  readonly functions: number;
  readonly newestRun:
    | { readonly id: string; readonly state: RunState; readonly createdAt: number }
    | undefined;
  /** Its functions answer no more, and are deleted a day later. */
  readonly unlinked: { readonly at: number; readonly reason: string } | undefined;
}

/** Somewhere that repositories come from, besides the platform's own git. */
export interface SourceHostView {
  readonly instance: string;
  readonly kind: "github" | "gitlab" | "bitbucket-cloud" | "bitbucket-datacenter";
  readonly title: string;
  readonly url: string;
  /** Where a person links repositories with one click (GitHub: installs the App); `undefined` for hosts without such a page. */
  readonly linkUrl: string | undefined;
  /** What marks a project as linked, where that is a topic. */
  readonly topic: string | undefined;
  /** Where hooks of this host have to point. */
  readonly webhookUrl: string;
  readonly signIn: boolean;
}

export interface SourceHostsStatus {
  readonly hosts: readonly {
    readonly instance: string;
    readonly title: string;
    /** When the last reading began that was complete. */
    readonly readAt: number | undefined;
    readonly failingSince: number | undefined;
    readonly lastError: { readonly at: number; readonly message: string } | undefined;
  }[];
  /** A source host says that these are gone, and they stay until an operator confirms: they are too many at once. */
  readonly held: readonly {
    readonly id: string;
    readonly instance: string;
    readonly repositories: readonly { readonly name: string; readonly reason: string }[];
    /** Live ones that would go with them. */
    readonly functions: number;
    readonly engagedAt: number;
    readonly confirmedAt: number | undefined;
  }[];
}

/** A form for the browser to post: `manifest` is its one field. */
export interface GitHubAppForm {
  readonly action: string;
  readonly manifest: string;
}

export interface LogLineView {
  readonly at: number;
  readonly source: string;
  /** Sanitised: no control characters, no escape sequences. */
  readonly text: string;
}

export interface LogPageView {
  readonly lines: readonly LogLineView[];
  readonly cursor: string;
  readonly ended: boolean;
}

export interface Person {
  /** Who they are, whatever they are called: `local`, or the instance of their source host and its id of them. */
  readonly subject: string;
  readonly name: string;
  /** Whom they may act for, by slug. */
  readonly owners: readonly {
    readonly slug: string;
    readonly role: OwnerRole;
    /** Instance of the source host that it comes from; `undefined` for the platform's own git. */
    readonly host: string | undefined;
  }[];
  /** Whether they run the platform. */
  readonly isOperator: boolean;
}

/** Viewers see; developers redeploy, cancel and set secrets as well; admins change settings as well. */
export type OwnerRole = "viewer" | "developer" | "admin";

export interface OwnerView {
  readonly slug: string;
  readonly role: OwnerRole;
  readonly kind: "person" | "organization";
  /** On its host. */
  readonly login: string;
  /** Instance of the source host: `embedded`, `github.com`. */
  readonly host: string;
}

export interface SignInHostView {
  readonly instance: string;
  readonly kind: "github" | "gitlab" | "bitbucket-cloud" | "bitbucket-datacenter";
  /** `GitHub`, `GitLab (gitlab.example.com)` */
  readonly title: string;
  /** Where the browser goes to sign in; `?return=` a path below `/dashboard/` brings it back there. */
  readonly url: string;
}

export interface SessionView {
  readonly id: string;
  /** The one that asks. */
  readonly isThis: boolean;
  readonly createdAt: number;
  readonly seenAt: number;
  /** At the latest. */
  readonly endsAt: number;
  readonly address: string;
  readonly userAgent: string;
}

export type TokenScope = "read" | "write" | "push" | "invoke" | "sign-in";

export interface AccessTokenView {
  readonly id: string;
  readonly name: string;
  readonly scopes: readonly TokenScope[];
  readonly createdAt: number;
  /** `undefined` for never. */
  readonly expiresAt: number | undefined;
  readonly lastUsedAt: number | undefined;
}

export interface NewAccessTokenView {
  readonly id: string;
  /** Shown once, and kept nowhere. */
  readonly token: string;
}

export interface Platform {
  /** `http://system.localhost:8080` */
  readonly systemUrl: string;
  /** `http://system.localhost:8080/git`, before `/<owner>/<repository>.git` */
  readonly gitBaseUrl: string;
  readonly isolation: { readonly sandboxed: boolean; readonly text: string };
  readonly languages: readonly { readonly name: string; readonly problem: string | undefined }[];
}

/** Who did what. Text is one line, with escapes for what is not to be shown as it is. */
export interface AuditEventView {
  readonly id: number;
  readonly at: number;
  /** Subject of the person, `platform`, or the instance of a source host. */
  readonly actor: string;
  /** Of the person, where it is one that is known. */
  readonly actorName: string | undefined;
  readonly action: string;
  readonly object: string;
  readonly result: string;
  /** Empty where it came from the platform itself. */
  readonly address: string;
  readonly details: Readonly<Record<string, unknown>>;
}

export interface AuditPage {
  readonly events: readonly AuditEventView[];
  /** What to give as `before` for older ones; a page may be empty and older ones be there. `undefined` at the end. */
  readonly next: number | undefined;
}
