import { BranchName, CommitSha } from "@openfaas-cloud/shared/names.ts";
import { z } from "zod";
import type { Delivery, PushDelivery } from "../remote-host.ts";
import { Uuid } from "./cloud-schemas.ts";
import { ignoredEvent, pushesOf, readDelivery } from "./deliveries.ts";
import { authorOf, messageOf } from "./text.ts";

const Ref = z.object({
  /** `branch` or `tag`, and more where it is no git. */
  type: z.string(),
  name: z.string(),
  target: z.object({
    hash: CommitSha,
    message: z.string().optional(),
    author: z.object({ raw: z.string() }).partial().nullish(),
  }),
});
const Repository = z.object({ uuid: Uuid });
const Push = z.object({
  actor: z.object({ uuid: Uuid.optional() }).nullish(),
  repository: Repository,
  push: z.object({ changes: z.array(z.object({ old: Ref.nullable(), new: Ref.nullable() })).max(1000) }),
});
const AboutRepository = z.object({ repository: Repository });

/** Source: https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/ */
export function parseCloudDelivery(event: string, body: string): Delivery {
  switch (event) {
    case "repo:push":
      return readDelivery(event, Push, body, (said) => pushesOf(branchesOf(said)));
    case "repo:created":
    case "repo:deleted":
    case "repo:imported":
    case "repo:transfer":
    case "repo:updated":
      return readDelivery(event, AboutRepository, body, ({ repository }) => ({
        kind: "repositories",
        repositories: [keyOf(repository)],
      }));
    default:
      return ignoredEvent(event);
  }
}

function branchesOf({ actor, repository, push }: z.infer<typeof Push>): PushDelivery[] {
  return push.changes.flatMap(({ old: before, new: after }) => {
    const ref = after ?? before;
    const branch = BranchName.safeParse(ref?.name);
    if (ref?.type !== "branch" || !branch.success) return [];
    return {
      kind: "push",
      repository: keyOf(repository),
      branch: branch.data,
      before: before?.target.hash,
      // The branch is closed where there is no new state of it.
      commit: after?.target.hash,
      message: messageOf(after?.target.message ?? ""),
      author: authorOf(after?.target.author?.raw ?? ""),
      pusher: actor?.uuid,
    };
  });
}

function keyOf({ uuid }: z.infer<typeof Repository>) {
  return { id: uuid, installation: undefined };
}
