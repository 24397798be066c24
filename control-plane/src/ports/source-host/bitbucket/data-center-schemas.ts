import { CommitSha } from "@openfaas-cloud/shared/names.ts";
import { z } from "zod";

/** Source of all of them: https://developer.atlassian.com/server/bitbucket/rest/v906/ */

const Id = z.number().int().nonnegative().transform(String);

export const User = z.object({ id: Id, name: z.string().min(1), slug: z.string(), displayName: z.string() });
export type User = z.infer<typeof User>;

/** Whatever it is, it leads nowhere else in a path. */
const PathPart = z
  .string()
  .max(300)
  .regex(/^(?!\.{1,2}$)[^/]+$/);

export const Project = z.object({
  id: Id,
  /** `ACME`; of an account's own project `~ALICE` or `~alice`. */
  key: PathPart,
  type: z.enum(["NORMAL", "PERSONAL"]),
  public: z.boolean().default(false),
  /** Whose it is, where it is somebody's own. */
  owner: z.object({ id: Id }).optional(),
});
export type Project = z.infer<typeof Project>;

export const Repository = z.object({ id: Id, slug: PathPart, public: z.boolean(), project: Project });
export type Repository = z.infer<typeof Repository>;

/** What of a repository is taken from a delivery. */
export const RepositoryPlace = z.object({ id: Id, slug: PathPart, project: z.object({ key: PathPart }) });
export type RepositoryPlace = z.infer<typeof RepositoryPlace>;

export const DefaultBranch = z.object({ displayId: z.string() });
export const Branch = z.object({ id: z.string(), latestCommit: CommitSha });
export const Commit = z.object({
  id: CommitSha,
  message: z.string(),
  author: z.object({ name: z.string() }),
});
