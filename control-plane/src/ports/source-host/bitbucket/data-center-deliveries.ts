import { BranchName, CommitSha } from "@openfaas-cloud/shared/names.ts";
import { z } from "zod";
import type { Delivery, PushDelivery } from "../remote-host.ts";
import { RepositoryPlace } from "./data-center-schemas.ts";
import { ignored, ignoredEvent, pushesOf, readDelivery } from "./deliveries.ts";
import { authorOf, messageOf } from "./text.ts";

/** Forty zeros stand for what is not there. */
const Hash = z
  .string()
  .regex(/^[0-9a-f]{40}$/)
  .transform((hash) => (/^0+$/.test(hash) ? undefined : (hash as CommitSha)));
const Commit = z.object({
  id: CommitSha,
  message: z.string().optional(),
  author: z.object({ name: z.string() }).optional(),
});
const Push = z.object({
  actor: z.object({ id: z.number().int(), displayName: z.string().optional() }).nullish(),
  repository: RepositoryPlace,
  changes: z
    .array(
      z.object({
        ref: z.object({ displayId: z.string(), type: z.string() }),
        fromHash: Hash,
        toHash: Hash,
      }),
    )
    .max(1000),
  /** Only of a push that moved one branch, and only newer versions say it. */
  toCommit: Commit.nullish(),
});
const Modified = z.object({ new: RepositoryPlace });

/**
 * @param note is told where a repository is, since it can be asked for by its place only.
 * Source: https://confluence.atlassian.com/bitbucketserver/event-payload-938025882.html
 */
export function parseDataCenterDelivery(
  event: string,
  body: string,
  note: (repository: RepositoryPlace) => void,
): Delivery {
  switch (event) {
    case "repo:refs_changed":
      return readDelivery(event, Push, body, (said) => {
        note(said.repository);
        return pushesOf(branchesOf(said));
      });
    case "repo:modified":
      return readDelivery(event, Modified, body, ({ new: repository }) => {
        note(repository);
        return { kind: "repositories", repositories: [keyOf(repository)] };
      });
    case "diagnostics:ping":
      return ignored("Somebody tested the connection.");
    default:
      return ignoredEvent(event);
  }
}

function branchesOf({ actor, repository, changes, toCommit }: z.infer<typeof Push>): PushDelivery[] {
  return changes.flatMap(({ ref, fromHash, toHash }) => {
    const branch = BranchName.safeParse(ref.displayId);
    if (ref.type !== "BRANCH" || !branch.success || (fromHash ?? toHash) === undefined) return [];
    const commit = toCommit?.id === toHash ? toCommit : undefined;
    return {
      kind: "push",
      repository: keyOf(repository),
      branch: branch.data,
      before: fromHash,
      commit: toHash,
      message: messageOf(commit?.message ?? ""),
      author: authorOf(commit?.author?.name ?? actor?.displayName ?? ""),
      pusher: actor?.id.toString(),
    };
  });
}

function keyOf({ id }: RepositoryPlace) {
  return { id, installation: undefined };
}
