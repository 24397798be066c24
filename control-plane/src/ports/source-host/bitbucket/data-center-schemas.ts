import { CommitSha } from "@openfaas-cloud/shared/names.ts";
import { z } from "zod";

/** Source of all of them: https://developer.atlassian.com/server/bitbucket/rest/v906/ */

const Id = z.number().int().nonnegative().transform(String);

export const User = z.object({ id: Id, name: z.string().min(1), slug: z.string(), displayName: z.string() });
export type User = z.infer<typeof User>;

/** `ACME`; of an account's own project `~ALICE` or `~alice`. */
const ProjectKey = z.string().regex(/^~?(?!\.{1,2}$)[A-Za-z0-9_.-]{1,255}$/);

export const Project = z.object({
  id: Id,
  key: ProjectKey,
  type: z.enum(["NORMAL", "PERSONAL"]),
  public: z.boolean().default(false),
  /** Whose it is, where it is somebody's own. */
  owner: z.object({ id: Id }).optional(),
});
export type Project = z.infer<typeof Project>;

const Slug = z.string().regex(/^(?!\.{1,2}$)[A-Za-z0-9_.-]{1,255}$/);

export const Repository = z.object({ id: Id, slug: Slug, public: z.boolean(), project: Project });
export type Repository = z.infer<typeof Repository>;

/** What of a repository is taken from a delivery. */
export const RepositoryPlace = z.object({ id: Id, slug: Slug, project: z.object({ key: ProjectKey }) });
export type RepositoryPlace = z.infer<typeof RepositoryPlace>;

export const DefaultBranch = z.object({ displayId: z.string() });
export const Branch = z.object({ id: z.string(), latestCommit: CommitSha });
export const Commit = z.object({
  id: CommitSha,
  message: z.string(),
  author: z.object({ name: z.string() }),
});
