import { isUtf8 } from "node:buffer";
import { Webhooks } from "@octokit/webhooks";
import type { Secret } from "@openfaas-cloud/shared/env.ts";
import { BranchName, CommitSha } from "@openfaas-cloud/shared/names.ts";
import { z } from "zod";
import type { Delivery, RawDelivery, Verdict } from "../remote-host.ts";
import type { SourceKey } from "../source-host.ts";

const SIGNATURE = /^sha256=[0-9a-f]{64}$/;
const EVENT = /^[a-z0-9_]{1,64}$/;
const DELIVERY_ID = /^[\w-]{1,100}$/;
/** A delivery that names more is answered by looking at the whole installation. */
const MOST_REPOSITORIES = 200;
const MOST_MESSAGE = 4096;

const id = z.int().positive();
const Repository = z.object({ id, owner: z.object({ id }).optional() });
const installation = z.object({ id });
const account = z.object({ id });

/** Checks deliveries by their signature over the bytes as they came (docs.github.com: "Validating webhook deliveries"). */
export class DeliveryVerifier {
  readonly #hooks: readonly Webhooks[];

  constructor(secrets: readonly Secret[]) {
    this.#hooks = secrets.map((secret) => new Webhooks({ secret: secret.reveal() }));
  }

  async verify({ headers, body }: RawDelivery): Promise<Verdict> {
    const refused = (reason: string) => ({ kind: "refused", reason }) as const;
    const signature = headers["x-hub-signature-256"];
    const event = headers["x-github-event"];
    const deliveryId = headers["x-github-delivery"];
    if (signature === undefined) return refused("it is not signed by SHA-256");
    if (typeof signature !== "string" || !SIGNATURE.test(signature))
      return refused("its signature is malformed");
    if (typeof event !== "string" || !EVENT.test(event)) return refused("it names no event");
    if (typeof deliveryId !== "string" || !DELIVERY_ID.test(deliveryId)) return refused("it has no id");
    // What is signed are the bytes, and what is compared is text: nothing may be lost between the two.
    if (body.length === 0 || !isUtf8(body)) return refused("its body is no text");
    const text = body.toString("utf8");
    for (const hooks of this.#hooks) {
      if (await hooks.verify(text, signature)) return { kind: "authentic", deliveryId, event };
    }
    return refused("its signature is of no secret that is known here");
  }
}

/** By the event's name: what a delivery says, of what GitHub documents ("Webhook events and payloads"). */
const PARSERS: ReadonlyMap<string, (body: unknown, appId: number) => Delivery> = new Map([
  ["push", parsePush],
  ["installation", parseInstallation],
  ["installation_target", parseInstallation],
  ["installation_repositories", parseInstallationRepositories],
  ["repository", parseRepository],
  ["public", parseRepository],
  ["organization", parseOrganization],
  ["member", parseMember],
  ["membership", parseMember],
  ["team", parseTeam],
  ["team_add", parseTeam],
  ["github_app_authorization", parseAuthorization],
  ["check_run", parseCheckRun],
  ["check_suite", parseCheckSuite],
  ["ping", () => ignored("ping: GitHub tries the hook")],
]);

/** What an authentic delivery says. Throws nothing. @param appId whose checks are ours. */
export function parseDelivery(event: string, body: string, appId: number): Delivery {
  const parse = PARSERS.get(event);
  if (parse === undefined) return ignored(`${event.slice(0, 64)}: the platform has no use for this event`);
  try {
    return parse(JSON.parse(body), appId);
  } catch (error) {
    const why = error instanceof z.ZodError ? z.prettifyError(error) : "its body is no JSON";
    return ignored(`${event}: ${why.slice(0, 500)}`);
  }
}

const Push = z.object({
  ref: z.string(),
  before: z.string(),
  after: z.string(),
  repository: Repository,
  installation: installation.optional(),
  sender: account.nullish(),
  head_commit: z.object({ message: z.string(), author: z.object({ name: z.string() }) }).nullish(),
});

function parsePush(body: unknown): Delivery {
  const push = Push.parse(body);
  if (push.installation === undefined) return withoutInstallation("push");
  const name = /^refs\/heads\/(.+)$/s.exec(push.ref)?.[1];
  if (name === undefined) return ignored("push: it moves no branch");
  const branch = BranchName.safeParse(name);
  if (!branch.success) return ignored("push: the platform takes no branch of this name");
  return {
    kind: "push",
    repository: keyOf(push.repository, push.installation),
    branch: branch.data,
    before: commitOrNone(push.before),
    commit: commitOrNone(push.after),
    message: push.head_commit?.message.slice(0, MOST_MESSAGE) ?? "",
    author: push.head_commit?.author.name.slice(0, 255) ?? "",
    pusher: push.sender ? String(push.sender.id) : undefined,
  };
}

function parseInstallation(body: unknown): Delivery {
  return wholeInstallation(z.object({ installation }).parse(body).installation);
}

const InstallationRepositories = z.object({
  installation,
  repositories_added: z.array(account),
  repositories_removed: z.array(account),
});

function parseInstallationRepositories(body: unknown): Delivery {
  const parsed = InstallationRepositories.parse(body);
  const repositories = [...parsed.repositories_added, ...parsed.repositories_removed];
  if (repositories.length === 0 || repositories.length > MOST_REPOSITORIES)
    return wholeInstallation(parsed.installation);
  return { kind: "repositories", repositories: repositories.map((it) => keyOf(it, parsed.installation)) };
}

function parseRepository(body: unknown): Delivery {
  const parsed = z.object({ repository: Repository, installation: installation.optional() }).parse(body);
  if (parsed.installation === undefined) return withoutInstallation("repository");
  return { kind: "repositories", repositories: [keyOf(parsed.repository, parsed.installation)] };
}

const Organization = z.object({
  action: z.string(),
  organization: account,
  installation: installation.optional(),
  membership: z.object({ user: account.nullish() }).optional(),
});

function parseOrganization(body: unknown): Delivery {
  const { action, organization, membership, installation: granted } = Organization.parse(body);
  // Every repository of it has another full name now.
  if (action === "renamed" && granted !== undefined) return wholeInstallation(granted);
  if (action === "member_invited") return ignored("organization: nobody is a member by an invitation");
  return memberships(membership?.user, organization);
}

const Member = z.object({
  member: account.nullish(),
  organization: account.optional(),
  repository: Repository.optional(),
});

function parseMember(body: unknown): Delivery {
  const { member, organization, repository } = Member.parse(body);
  return memberships(member, organization ?? repository?.owner);
}

function parseTeam(body: unknown): Delivery {
  return memberships(undefined, z.object({ organization: account }).parse(body).organization);
}

/** A person took back what they allowed the App. */
function parseAuthorization(body: unknown): Delivery {
  return memberships(z.object({ sender: account }).parse(body).sender, undefined);
}

const Check = z.object({ head_sha: CommitSha, app: account.nullish() });
const Checked = z.object({
  action: z.string(),
  repository: Repository,
  installation: installation.optional(),
  sender: account.nullish(),
});

function parseCheckRun(body: unknown, appId: number): Delivery {
  const parsed = Checked.extend({ check_run: Check }).parse(body);
  return rerun("check_run", parsed, parsed.check_run, appId);
}

function parseCheckSuite(body: unknown, appId: number): Delivery {
  const parsed = Checked.extend({ check_suite: Check }).parse(body);
  return rerun("check_suite", parsed, parsed.check_suite, appId);
}

function rerun(
  event: string,
  { action, repository, installation: granted, sender }: z.infer<typeof Checked>,
  check: z.infer<typeof Check>,
  appId: number,
): Delivery {
  if (action !== "rerequested") return ignored(`${event}: nobody asks for another run`);
  if (check.app && check.app.id !== appId) return ignored(`${event}: it is another App's`);
  if (granted === undefined) return withoutInstallation(event);
  return {
    kind: "rerun",
    repository: keyOf(repository, granted),
    commit: check.head_sha,
    person: sender ? String(sender.id) : undefined,
  };
}

function memberships(
  person: z.infer<typeof account> | null | undefined,
  owner: z.infer<typeof account> | undefined,
): Delivery {
  return {
    kind: "memberships",
    person: person ? String(person.id) : undefined,
    owner: owner === undefined ? undefined : String(owner.id),
  };
}

function wholeInstallation(granted: { readonly id: number }): Delivery {
  return { kind: "installation", installation: String(granted.id) };
}

function keyOf(repository: { readonly id: number }, granted: { readonly id: number }): SourceKey {
  return { id: String(repository.id), installation: String(granted.id) };
}

/** Zeros stand where there is no commit; anything else that is none says nothing. */
function commitOrNone(text: string): CommitSha | undefined {
  return /^0+$/.test(text) ? undefined : CommitSha.parse(text);
}

function ignored(reason: string): Delivery {
  return { kind: "ignored", reason };
}

function withoutInstallation(event: string): Delivery {
  return ignored(`${event}: it comes from a hook of a repository or organisation, and not from the App's`);
}
