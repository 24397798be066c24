import { Secret } from "@openfaas-cloud/shared/env.ts";
import { z } from "zod";
import type { CloneCredential } from "../remote-clones.ts";
import type { SourceKey } from "../source-host.ts";
import type { GitLabApi } from "./api.ts";
import { idOf } from "./facts.ts";

/** For when nobody takes it back: the platform was ended meanwhile, or GitLab did not answer. */
const LIFETIME_MS = 60 * 60 * 1000;
const REVOKE_MS = 10_000;

const DeployToken = z.object({
  id: z.int().positive(),
  username: z.string().min(1),
  token: z.string().min(1),
});

export interface DeployToken {
  readonly credential: CloneCredential;
  /** Never rejects: what is not taken back ends by itself. */
  revoke(): Promise<void>;
}

/**
 * A credential that reads this one project and nothing else, for an hour at most. It takes the role Maintainer in the project.
 * @returns `undefined` where the platform's token has no such role.
 * @throws HostUnavailable
 * Source: https://docs.gitlab.com/api/deploy_tokens/#create-a-project-deploy-token
 */
export async function makeDeployToken(
  api: GitLabApi,
  key: SourceKey,
  signal: AbortSignal,
): Promise<DeployToken | undefined> {
  const path = `/projects/${idOf(key)}/deploy_tokens`;
  const asked = {
    name: "openfaas-cloud: one clone",
    scopes: ["read_repository"],
    expires_at: new Date(Date.now() + LIFETIME_MS).toISOString(),
  };
  const made = await api.create(path, asked, DeployToken, signal);
  if (made === undefined) return undefined;
  const { id, username, token } = made;
  return {
    credential: { username, password: new Secret(token) },
    revoke: () => api.delete(`${path}/${id}`, AbortSignal.timeout(REVOKE_MS)).catch(() => undefined),
  };
}
