import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { Secret } from "@openfaas-cloud/shared/env.ts";
import { BranchName, CommitSha } from "@openfaas-cloud/shared/names.ts";
import { z } from "zod";
import { sanitiseLogText } from "../../log-store/sanitise.ts";
import type { GitLabConfig } from "../host-config.ts";
import type { Delivery, RawDelivery, Verdict } from "../remote-host.ts";
import type { SourceKey } from "../source-host.ts";

/** How far a signed delivery's time may be from ours, as Standard Webhooks has it. */
const TOLERANCE_S = 300;
const BRANCH_REF = /^refs\/heads\/(?<branch>.+)$/s;
const ZEROS = /^0+$/;

/**
 * Whether a delivery is GitLab's own. Of the proofs that are configured it has to bear each: `X-Gitlab-Token`, which is the
 * secret itself, and `webhook-signature`, which is HMAC-SHA256 over id, time and body (Standard Webhooks).
 * https://docs.gitlab.com/user/project/integrations/webhooks/
 */
export function verifyDelivery(
  config: Pick<GitLabConfig, "webhookTokens" | "signingTokens">,
  delivery: RawDelivery,
): Verdict {
  const { webhookTokens, signingTokens } = config;
  if (webhookTokens === undefined && signingTokens === undefined) return refused("no proof is configured");
  const event = headerOf(delivery, "x-gitlab-event");
  if (event === undefined) return refused("it says no event in X-Gitlab-Event");
  const failure =
    (webhookTokens && tokenFailure(webhookTokens, delivery)) ??
    (signingTokens && signatureFailure(signingTokens, delivery));
  if (failure !== undefined) return refused(failure);
  return { kind: "authentic", deliveryId: deliveryIdOf(delivery, signingTokens !== undefined), event };
}

function refused(reason: string): Verdict {
  return { kind: "refused", reason };
}

function tokenFailure(tokens: readonly Secret[], delivery: RawDelivery): string | undefined {
  const given = headerOf(delivery, "x-gitlab-token");
  if (given === undefined) return "it bears no X-Gitlab-Token";
  const matches = tokens.map((token) => isSame(token.reveal(), given));
  return matches.includes(true) ? undefined : "its X-Gitlab-Token is none of ours";
}

function signatureFailure(tokens: readonly Secret[], delivery: RawDelivery): string | undefined {
  const id = headerOf(delivery, "webhook-id");
  const timestamp = headerOf(delivery, "webhook-timestamp");
  const signatures = headerOf(delivery, "webhook-signature")?.split(" ");
  if (id === undefined || timestamp === undefined || signatures === undefined) return "it is not signed";
  if (!/^\d{1,12}$/.test(timestamp)) return "its webhook-timestamp is no time";
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_S) {
    return `its webhook-timestamp is more than ${TOLERANCE_S} s away from our clock`;
  }
  const matches = tokens.flatMap((token) => {
    const hmac = createHmac("sha256", Buffer.from(token.reveal().replace(/^whsec_/, ""), "base64"));
    const expected = `v1,${hmac.update(`${id}.${timestamp}.`).update(delivery.body).digest("base64")}`;
    return signatures.slice(0, 10).map((signature) => isSame(expected, signature));
  });
  return matches.includes(true) ? undefined : "its webhook-signature is none that our signing tokens make";
}

/** Takes as long whatever the two have in common, their lengths included. */
function isSame(a: string, b: string): boolean {
  const [left, right] = [a, b].map((value) => createHash("sha256").update(value).digest());
  return left !== undefined && right !== undefined && timingSafeEqual(left, right);
}

/**
 * `Idempotency-Key` stays the same over GitLab's retries, and `webhook-id` is the same value signed: a replay under another
 * key is not taken for another delivery. Versions before 17.4 have neither. Their `X-Gitlab-Event-UUID` is shared by all
 * that a delivery causes in turn, so that the body tells those apart.
 */
function deliveryIdOf(delivery: RawDelivery, isSigned: boolean): string | undefined {
  const key = headerOf(delivery, isSigned ? "webhook-id" : "idempotency-key");
  if (key !== undefined) return bounded(key);
  const uuid = headerOf(delivery, "x-gitlab-event-uuid");
  if (uuid === undefined) return undefined;
  return `${bounded(uuid)}:${createHash("sha256").update(delivery.body).digest("hex")}`;
}

function bounded(id: string): string {
  return id.length <= 100 ? id : createHash("sha256").update(id).digest("hex");
}

/** `undefined` where it is absent, empty, or there more than once. */
function headerOf({ headers }: RawDelivery, name: string): string | undefined {
  const value = headers[name];
  return typeof value === "string" && value !== "" ? value : undefined;
}

const Id = z.number().int().positive();
/** Project and group hooks say what they are about by `object_kind`, system hooks and those of members by `event_name`. */
const Kind = z.object({ event_name: z.string().optional(), object_kind: z.string().optional() });
const PushBody = z.object({
  ref: z.string(),
  before: z.string(),
  after: z.string(),
  project_id: Id,
  user_id: Id.nullish(),
  user_name: z.string().nullish(),
  commits: z
    .array(z.object({ id: z.string(), message: z.string(), author: z.object({ name: z.string() }) }))
    .nullish(),
});
const ProjectBody = z.object({ project_id: Id });
const MemberBody = z.object({ user_id: Id });

/** The hooks by which GitLab sends what we read: of a project or a group, of a group's members and projects, of the instance. */
const HOOKS: ReadonlySet<string> = new Set(["Push Hook", "System Hook", "Member Hook", "Project Hook"]);

const READERS: ReadonlyMap<string, (body: unknown) => Delivery> = new Map([
  ["push", readPush],
  ...["project_create", "project_destroy", "project_rename", "project_transfer", "project_update"].map(
    (name) => [name, readProject] as const,
  ),
  ...[
    ...["user_add_to_group", "user_update_for_group", "user_remove_from_group"],
    ...["user_add_to_team", "user_update_for_team", "user_remove_from_team"],
    // An account that is gone or blocked may do nothing any more.
    ...["user_destroy", "user_failed_login"],
  ].map((name) => [name, readMember] as const),
]);

const LEFT_OUT: ReadonlyMap<string, string> = new Map([
  ["Tag Push Hook", "tags are not deployed: left for later"],
  ["Merge Request Hook", "merge requests are not deployed: left for later"],
  ["tag_push", "tags are not deployed: left for later"],
  ["merge_request", "merge requests are not deployed: left for later"],
  ["repository_update", "branches are followed by their pushes, and by looking at them"],
  ["group_rename", "its projects are found by their ids when they are next looked at"],
  ["user_rename", "its projects are found by their ids when they are next looked at"],
]);

export function parseDelivery(event: string, text: string): Delivery {
  const left = LEFT_OUT.get(event);
  if (left !== undefined) return ignored(left);
  if (!HOOKS.has(event)) return ignored(`nothing is done for "${event.slice(0, 100)}"`);
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return ignored("its body is not JSON");
  }
  const kind = Kind.safeParse(body);
  const name = kind.success ? (kind.data.event_name ?? kind.data.object_kind) : undefined;
  if (name === undefined) return ignored("it does not say what it is about");
  const read = READERS.get(name);
  return read?.(body) ?? ignored(LEFT_OUT.get(name) ?? `nothing is done for "${name.slice(0, 100)}"`);
}

function readPush(body: unknown): Delivery {
  const parsed = PushBody.safeParse(body);
  if (!parsed.success) return ignored(unreadable("push", parsed.error));
  const { ref, before, after, project_id, user_id, user_name, commits } = parsed.data;
  const name = BRANCH_REF.exec(ref)?.groups?.["branch"];
  const branch = BranchName.safeParse(name);
  if (!branch.success) return ignored(`${ref.slice(0, 300)} is no branch that can be deployed`);
  const [from, to] = [before, after].map((sha) => (ZEROS.test(sha) ? undefined : sha));
  const shas = z.tuple([CommitSha.optional(), CommitSha.optional()]).safeParse([from, to]);
  if (!shas.success) return ignored(unreadable("push", shas.error));
  const newest = commits?.find(({ id }) => id === after);
  return {
    kind: "push",
    repository: keyOf(project_id),
    branch: branch.data,
    before: shas.data[0],
    commit: shas.data[1],
    message: firstLine(newest?.message ?? "", 500),
    author: firstLine(newest?.author.name ?? user_name ?? "", 200),
    pusher: user_id?.toString(),
  };
}

function readProject(body: unknown): Delivery {
  const parsed = ProjectBody.safeParse(body);
  if (!parsed.success) return ignored(unreadable("project", parsed.error));
  return { kind: "repositories", repositories: [keyOf(parsed.data.project_id)] };
}

/** The group that it names may lie below the owner, so that only the person is told. */
function readMember(body: unknown): Delivery {
  const parsed = MemberBody.safeParse(body);
  if (!parsed.success) return ignored(unreadable("member", parsed.error));
  return { kind: "memberships", person: parsed.data.user_id.toString(), owner: undefined };
}

function ignored(reason: string): Delivery {
  return { kind: "ignored", reason };
}

function unreadable(what: string, error: z.ZodError): string {
  const [issue] = error.issues;
  return `the ${what} in it cannot be read: ${issue?.path.join(".")}: ${issue?.message}`;
}

function keyOf(projectId: number): SourceKey {
  return { id: projectId.toString(), installation: undefined };
}

/** As people are shown it. */
export function firstLine(text: string, length: number): string {
  return sanitiseLogText(text.split("\n", 1)[0] ?? "").slice(0, length);
}
