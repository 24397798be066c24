import type { Role } from "../../../role.ts";
import type { HostClient } from "../host-client.ts";
import type { BitbucketCloudConfig } from "../host-config.ts";
import type { OwnerAccess, SignInProvider } from "../remote-host.ts";
import type { BitbucketApi } from "./api.ts";
import { isAmong, ownerOf } from "./cloud-owner.ts";
import { readPages } from "./cloud-pages.ts";
import { User, type Workspace, WorkspaceAccess, WorkspaceMembership } from "./cloud-schemas.ts";
import { OAuth } from "./oauth.ts";
import { openSignIn } from "./sign-in.ts";

/**
 * Sign-in by an OAuth consumer of Bitbucket Cloud. Bitbucket does not check PKCE yet (BCLOUD-23469), and passes over what it does
 * not know; it is sent in any case. Source: https://developer.atlassian.com/cloud/bitbucket/oauth-2/
 */
export function openCloudSignIn(options: {
  readonly config: BitbucketCloudConfig;
  readonly title: string;
  readonly client: HostClient;
  /** Of the API, with a slash at its end. */
  readonly base: string;
}): SignInProvider | undefined {
  const { config, title, client, base } = options;
  if (config.oauth === undefined) return undefined;
  const oauth = new OAuth({
    title,
    client,
    authorizeUrl: `${config.url}/site/oauth2/authorize`,
    tokenUrl: `${config.url}/site/oauth2/access_token`,
    clientId: config.oauth.id,
    clientSecret: config.oauth.secret,
    clientAuth: "basic",
    scope: "account",
  });
  return openSignIn(
    { title, client, oauth },
    {
      async fetchIdentity(person, signal) {
        const { value } = await person.get(`${base}user`, User, signal);
        const { uuid, username, nickname, display_name: name } = value;
        return { sourceId: uuid, login: username ?? nickname, name };
      },

      /** Of our workspaces: there is nothing here that belongs to others. */
      async fetchOwners(person, signal) {
        const { value: user } = await person.get(`${base}user`, User, signal);
        const owners: OwnerAccess[] = [];
        const list = { base, path: "user/workspaces", item: WorkspaceAccess };
        for await (const { workspace, administrator } of readPages(person, list, signal)) {
          if (!isAmong(config.workspaces, workspace)) continue;
          const role = administrator ? "admin" : await fetchRole(person, base, workspace, signal);
          // The workspace that an account came with has the account's id.
          owners.push({ owner: ownerOf(workspace, workspace.uuid === user.uuid), role });
        }
        return owners;
      },
    },
  );
}

/** The permission is `owner`, `create-project` (formerly `collaborator`) or `member`; what comes to be is the least. */
async function fetchRole(
  person: BitbucketApi,
  base: string,
  { uuid }: Workspace,
  signal: AbortSignal,
): Promise<Role> {
  const url = `${base}user/workspaces/${encodeURIComponent(`{${uuid}}`)}/permission`;
  switch ((await person.get(url, WorkspaceMembership, signal)).value.permission) {
    case "owner":
      return "admin";
    case "create-project":
    case "collaborator":
      return "developer";
    default:
      return "viewer";
  }
}
