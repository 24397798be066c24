import { Readable } from "node:stream";
import { z } from "zod";
import type { Role } from "../../../role.ts";
import type { HostClient } from "../host-client.ts";
import type { BitbucketDataCenterConfig } from "../host-config.ts";
import { HostUnavailable } from "../host-errors.ts";
import type { OwnerAccess, SignInProvider } from "../remote-host.ts";
import type { BitbucketApi } from "./api.ts";
import { collect } from "./collect.ts";
import { ownerOf } from "./data-center-owner.ts";
import { readPages, userNameOf } from "./data-center-pages.ts";
import { Project, Repository, User } from "./data-center-schemas.ts";
import { OAuth } from "./oauth.ts";
import { openSignIn } from "./sign-in.ts";

/** Requests under way for one person. */
const AT_ONCE = 4;

/**
 * Sign-in by an incoming application link with OAuth 2.0 (from 7.21).
 *
 * A person's grant is for reading only. Bitbucket caps what it says of a person's permissions at the scope of the grant, so that
 * what they may do beyond reading is asked with the platform's token, rather than everybody be asked to let the platform
 * administer all their projects.
 *
 * Source: https://confluence.atlassian.com/bitbucketserver/bitbucket-oauth-2-0-provider-api-1108483661.html
 */
export function openDataCenterSignIn(options: {
  readonly config: BitbucketDataCenterConfig;
  readonly title: string;
  readonly client: HostClient;
  readonly platform: BitbucketApi;
  /** Of the REST API, with a slash at its end. */
  readonly base: string;
}): SignInProvider | undefined {
  const { config, title, client, platform, base } = options;
  if (config.oauth === undefined) return undefined;
  const oauth = new OAuth({
    title,
    client,
    authorizeUrl: `${config.url}/rest/oauth2/latest/authorize`,
    tokenUrl: `${config.url}/rest/oauth2/latest/token`,
    clientId: config.oauth.id,
    clientSecret: config.oauth.secret,
    clientAuth: "body",
    scope: "REPO_READ",
  });

  async function fetchRole(project: Project, user: User, signal: AbortSignal): Promise<Role> {
    const may = async (permission: string) => {
      const url = new URL(`${base}users`);
      url.search = new URLSearchParams({
        filter: user.name,
        "permission.1": permission,
        "permission.1.projectId": project.id,
      }).toString();
      for await (const { id } of readPages(platform, { url: url.href, item: User }, signal)) {
        if (id === user.id) return true;
      }
      return false;
    };
    if (!(await may("PROJECT_WRITE"))) return "viewer";
    return (await may("PROJECT_ADMIN")) ? "admin" : "developer";
  }

  return openSignIn(
    { title, client, oauth },
    {
      async fetchIdentity(person, signal) {
        const { id, name, displayName } = await whoIs(person, base, signal);
        return { sourceId: id, login: name, name: displayName };
      },

      async fetchOwners(person, signal) {
        const user = await whoIs(person, base, signal);
        const readable = `${base}projects?permission=PROJECT_READ`;
        const projects = await collect(readPages(person, { url: readable, item: Project }, signal));
        const others = projects.filter((project) => !isOf(user, project));
        const served = await listServed(platform, base, signal);
        const owners = await Readable.from(others)
          .map(
            async (project: Project): Promise<OwnerAccess> => ({
              owner: ownerOf(project),
              role: served.has(project.id) ? await fetchRole(project, user, signal) : "viewer",
            }),
            { concurrency: AT_ONCE },
          )
          .toArray();
        // Lists leave it out.
        const own = await person.find(
          `${base}projects/${encodeURIComponent(`~${user.slug}`)}`,
          Project,
          signal,
        );
        if (own !== undefined) owners.push({ owner: ownerOf(own.value), role: "admin" });
        return owners;
      },
    },
  );
}

/** Projects with repositories that could be linked. There is nothing to do for us in others, however many they are. */
async function listServed(platform: BitbucketApi, base: string, signal: AbortSignal): Promise<Set<string>> {
  const url = `${base}repos?permission=REPO_ADMIN&archived=ALL`;
  const served = new Set<string>();
  for await (const { project } of readPages(platform, { url, item: Repository }, signal)) {
    served.add(project.id);
  }
  return served;
}

async function whoIs(person: BitbucketApi, base: string, signal: AbortSignal): Promise<User> {
  const name = await fetchUserName(person, base, signal);
  const url = `${base}users?filter=${encodeURIComponent(name)}`;
  for await (const user of readPages(person, { url, item: User }, signal)) {
    if (user.name === name) return user;
  }
  throw new HostUnavailable(
    `${person.title} says that it is ${name}, and then that there is no such person.`,
  );
}

/** @throws HostUnavailable where the credential is nobody's. */
export async function fetchUserName(api: BitbucketApi, base: string, signal: AbortSignal): Promise<string> {
  const { headers } = await api.get(`${base}application-properties`, z.unknown(), signal);
  const name = userNameOf(headers);
  if (name === undefined)
    throw new HostUnavailable(`${api.title} does not say whose credential it was given.`);
  return name;
}

function isOf(user: User, { key, type, owner }: Project): boolean {
  return (
    type === "PERSONAL" && (owner?.id === user.id || key.toLowerCase() === `~${user.slug.toLowerCase()}`)
  );
}
