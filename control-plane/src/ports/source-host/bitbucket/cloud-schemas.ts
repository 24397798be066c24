import { CommitSha } from "@openfaas-cloud/shared/names.ts";
import { z } from "zod";

/** Bitbucket writes ids in braces; here they are without. */
export const Uuid = z
  .string()
  .regex(/^\{[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}$/i)
  .transform((uuid) => uuid.slice(1, -1).toLowerCase());

/** Whatever it is, it leads nowhere else in a path. */
const PATH_PART = "(?!\\.{1,2}(?:/|$))[^/]+";

export const Workspace = z.object({ uuid: Uuid, slug: z.string().regex(new RegExp(`^${PATH_PART}$`)) });
export type Workspace = z.infer<typeof Workspace>;

/** Source: https://developer.atlassian.com/cloud/bitbucket/rest/api-group-repositories/ */
export const Repository = z.object({
  uuid: Uuid,
  full_name: z.string().regex(new RegExp(`^${PATH_PART}/${PATH_PART}$`)),
  is_private: z.boolean(),
  /** Moves with each push, and with other changes. */
  updated_on: z.iso.datetime({ offset: true }),
  workspace: Workspace,
  owner: z.object({ type: z.string() }).nullish(),
  /** `null` as long as it is empty. */
  mainbranch: z.object({ name: z.string() }).nullish(),
});
export type Repository = z.infer<typeof Repository>;

/** Source: https://developer.atlassian.com/cloud/bitbucket/rest/api-group-refs/ */
export const Branch = z.object({
  target: z.object({
    hash: CommitSha,
    message: z.string(),
    author: z.object({ raw: z.string() }),
  }),
});

/** Source: https://developer.atlassian.com/cloud/bitbucket/rest/api-group-users/ */
export const User = z.object({
  uuid: Uuid,
  username: z.string().min(1).optional(),
  nickname: z.string().min(1),
  display_name: z.string().min(1),
});

/** Source: https://developer.atlassian.com/cloud/bitbucket/rest/api-group-workspaces/#api-user-workspaces-get */
export const WorkspaceAccess = z.object({ administrator: z.boolean(), workspace: Workspace });
export const WorkspaceMembership = z.object({ permission: z.string() });
