import { z } from "zod";
import type { HostClient } from "../host-client.ts";
import type { GitHubConfig } from "../host-config.ts";
import { HostUnavailable, SignInRefused } from "../host-errors.ts";
import { GitHubApi } from "./api.ts";

/** Least of all that the adapter asks for. Whoever installs the App sees this list. */
const PERMISSIONS = {
  metadata: "read",
  contents: "read",
  checks: "write",
  statuses: "write",
  deployments: "write",
  members: "read",
} as const;

/** Those that are not sent to every App anyway, as installation and installation_repositories are. */
const EVENTS = [
  "check_run",
  "check_suite",
  "member",
  "membership",
  "organization",
  "public",
  "push",
  "repository",
  "team",
  "team_add",
] as const;

const MOST_NAME = 34;

export interface PlatformUrls {
  /** The dashboard. */
  readonly home: string;
  readonly webhook: string;
  /** Where GitHub sends the browser with the manifest's code. */
  readonly created: string;
  /** Where sign-in comes back to. */
  readonly callback: string;
  /** Where people come to after they installed the App. */
  readonly installed: string;
}

/**
 * What the form at `manifestFormUrl` takes as its field `manifest`, in JSON: a GitHub App for a platform at these addresses
 * (docs.github.com: "Registering a GitHub App from a manifest").
 */
export function gitHubAppManifest(name: string, urls: PlatformUrls) {
  return {
    name: name.slice(0, MOST_NAME),
    url: urls.home,
    hook_attributes: { url: urls.webhook, active: true },
    redirect_url: urls.created,
    callback_urls: [urls.callback],
    setup_url: urls.installed,
    setup_on_update: false,
    public: true,
    request_oauth_on_install: false,
    default_permissions: PERMISSIONS,
    default_events: EVENTS,
  };
}

/** Where the form is sent by POST: for the person's own account, or for an organisation that they administer. */
export function manifestFormUrl(
  webUrl: string,
  { state, organization }: { readonly state: string; readonly organization?: string | undefined },
): URL {
  const place = organization === undefined ? "" : `/organizations/${encodeURIComponent(organization)}`;
  const url = new URL(`${webUrl}${place}/settings/apps/new`);
  url.searchParams.set("state", state);
  return url;
}

const Conversion = z.object({
  id: z.int().positive(),
  slug: z.string().min(1),
  client_id: z.string().min(1),
  client_secret: z.string().min(1),
  webhook_secret: z.string().min(1),
  pem: z.string().min(1),
});

/**
 * Trades the code that the browser brought back, which is good for one hour and once, for the App that was made.
 * @returns as `GitHubConfig` takes it, with secrets in clear: to be sealed.
 * @throws SignInRefused where GitHub does not know the code; HostUnavailable
 */
export async function convertManifestCode(
  {
    client,
    webUrl,
    apiUrl,
    title,
  }: {
    readonly client: HostClient;
    readonly webUrl: string;
    readonly apiUrl: string;
    readonly title: string;
  },
  code: string,
  signal: AbortSignal,
): Promise<z.input<typeof GitHubConfig>> {
  const api = new GitHubApi({ client, url: apiUrl, title });
  const path = `/app-manifests/${encodeURIComponent(code)}/conversions`;
  const call = { method: "POST", path, token: undefined, signal } as const;
  const answer = await api.send(call);
  if (answer.status === 404 || answer.status === 422)
    throw new SignInRefused(`${title} does not know this code: create the GitHub App again.`);
  try {
    const made = api.parse(answer, Conversion, call);
    return {
      kind: "github",
      url: webUrl,
      apiUrl,
      appId: made.id,
      slug: made.slug,
      privateKey: made.pem,
      webhookSecrets: made.webhook_secret,
      oauth: { id: made.client_id, secret: made.client_secret },
    };
  } catch (error) {
    if (!(error instanceof HostUnavailable)) throw error;
    // Not its cause: the answer holds secrets.
    throw new HostUnavailable(`${title} did not create the GitHub App.`, { status: answer.status });
  }
}
