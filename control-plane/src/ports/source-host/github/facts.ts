import { BranchName, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import { z } from "zod";
import type { OwnerFacts, RepositoryFacts } from "../remote-host.ts";

/** An account, of what GitHub tells of it. */
export const ApiAccount = z.object({ id: z.int().positive(), login: z.string().min(1), type: z.string() });
export type ApiAccount = z.infer<typeof ApiAccount>;

/** Who installed the App: an enterprise has no login, and no repositories. */
export const Installer = z.union([ApiAccount, z.object({ slug: z.string() })]);

/** A repository, of what GitHub tells of it. */
export const ApiRepository = z.object({
  id: z.int().positive(),
  name: z.string().min(1),
  full_name: z.string().regex(/^[\w.-]+\/[\w.-]+$/),
  private: z.boolean(),
  default_branch: z.string().nullish(),
  owner: ApiAccount,
});
export type ApiRepository = z.infer<typeof ApiRepository>;

export function ownerFacts({ id, login, type }: ApiAccount): OwnerFacts {
  return { sourceId: String(id), login, kind: type === "User" ? "person" : "organization" };
}

/** `undefined` where the platform takes no repository of that name. */
export function repositoryFacts(
  repository: ApiRepository,
  { installation, webUrl }: { readonly installation: string; readonly webUrl: string },
): RepositoryFacts | undefined {
  const name = RepositoryName.safeParse(repository.name);
  if (!name.success) return undefined;
  return {
    key: { id: String(repository.id), installation },
    owner: ownerFacts(repository.owner),
    name: name.data,
    fullName: repository.full_name,
    defaultBranch: BranchName.safeParse(repository.default_branch).data,
    isPrivate: repository.private,
    webUrl: `${webUrl}/${repository.full_name}`,
  };
}
