import { readFileSync } from "node:fs";
import { Secret } from "@openfaas-cloud/shared/env.ts";
import { errorMessage, KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { z } from "zod";
import { EMBEDDED } from "./source-host.ts";

/** A secret as it is, or the file that holds it: one secret for each file, as Kubernetes mounts them. */
const secretOrFile = z
  .custom<string | { readonly file: string }>(isTextOrFile, "must be text, or the file that holds it")
  .transform((written, context) => {
    try {
      const text = typeof written === "string" ? written : readFileSync(written.file, "utf8").trim();
      // Signed with nothing, a delivery could be anybody's.
      if (text !== "") return text;
      context.addIssue("must not be empty");
    } catch (error) {
      context.addIssue(`the file cannot be read: ${errorMessage(error)}`);
    }
    return z.NEVER;
  });
const hidden = secretOrFile.transform((value) => new Secret(value));
/** Several at once, so that one can be replaced without a delivery lost: the newest first. */
const severalOf = <Schema extends z.ZodType<Secret>>(one: Schema) =>
  z.preprocess((value) => [value].flat(), z.array(one).min(1).max(5));
const rotating = severalOf(hidden);

/** `whsec_` and the key in base64, as GitLab gives it out (the form of Standard Webhooks). */
const signingToken = secretOrFile
  .refine(
    (value) => /^whsec_[A-Za-z0-9+/]{32,}={0,2}$/.test(value),
    "must be a signing token as GitLab shows it: whsec_ and base64",
  )
  .transform((value) => new Secret(value));

/** As it is in every address that is made of it, however the operator writes it. Credentials in it would be shown with it. */
const httpUrl = z
  .url({ protocol: /^https?$/ })
  .transform((url) => new URL(url))
  .refine(
    ({ username, password, search, hash }) => username + password + search + hash === "",
    "must have no credentials, query or fragment",
  )
  .refine(
    ({ hostname }) => !hostname.endsWith("."),
    "must have no dot at the end of its host: it is the same without",
  )
  .refine(
    ({ hostname }) => hostname !== EMBEDDED,
    `must not be ${EMBEDDED}, which the platform's own git is called`,
  )
  .transform(({ origin, pathname }) => `${origin}${pathname}`.replace(/\/+$/, ""));
const common = {
  /** Where people see it: `https://github.com`, `https://gitlab.example.com/git`. */
  url: httpUrl,
  /** PEM of certificate authorities to trust besides the well-known ones. */
  ca: secretOrFile.optional(),
};
const oauthClient = z.strictObject({ id: z.string().min(1), secret: hidden });

/** A GitHub App. */
export const GitHubConfig = z.strictObject({
  kind: z.literal("github"),
  ...common,
  url: httpUrl.default("https://github.com"),
  /** `https://api.github.com`; `<url>/api/v3` where it is a GitHub Enterprise Server and nothing is given. */
  apiUrl: httpUrl.optional(),
  appId: z.coerce.number().int().positive(),
  /** Its name in URLs: where people install it. */
  slug: z.string().min(1),
  privateKey: hidden,
  webhookSecrets: rotating,
  oauth: oauthClient.optional(),
  /** How a push's outcome is shown on its commit. */
  report: z.enum(["checks", "statuses"]).default("checks"),
});
export type GitHubConfig = z.infer<typeof GitHubConfig>;

/** Of the hooks' two proofs at least one is needed; a delivery has to bear each that is given. */
export const GitLabConfig = z
  .strictObject({
    kind: z.literal("gitlab"),
    ...common,
    url: httpUrl.default("https://gitlab.com"),
    /** Of a group or project access token, or of a bot account: scopes `api` and `read_repository`. */
    token: hidden,
    /** Of the hooks: secret tokens (`X-Gitlab-Token`). */
    webhookTokens: rotating.optional(),
    /** Of the hooks: signing tokens (`webhook-signature`), where this GitLab has them. Better, since they sign the body. */
    signingTokens: severalOf(signingToken).optional(),
    /** A project with this topic (formerly tag) is linked. */
    topic: z
      .string()
      .min(1)
      .max(255)
      .regex(/^[^,]*$/, "must not hold a comma")
      .default("openfaas-cloud"),
    oauth: oauthClient.optional(),
  })
  .refine(({ webhookTokens, signingTokens }) => webhookTokens !== undefined || signingTokens !== undefined, {
    path: ["webhookTokens"],
    message: "is needed, or signingTokens: without either anybody could send deliveries",
  });
export type GitLabConfig = z.infer<typeof GitLabConfig>;

export const BitbucketCloudConfig = z.strictObject({
  kind: z.literal("bitbucket-cloud"),
  ...common,
  url: httpUrl.default("https://bitbucket.org"),
  apiUrl: httpUrl.default("https://api.bitbucket.org"),
  /**
   * A workspace access token, or the API token of an account that administers the workspaces; scopes `repository` and `webhook`
   * (`read:repository:bitbucket`, `read:webhook:bitbucket`).
   */
  token: hidden,
  /** The account's, where the token is an API token. */
  email: z.email().optional(),
  /** Whose repositories are looked at: slugs, or ids in braces. */
  workspaces: z.array(z.string().min(1)).min(1).max(100),
  webhookSecrets: rotating,
  oauth: oauthClient.optional(),
});
export type BitbucketCloudConfig = z.infer<typeof BitbucketCloudConfig>;

export const BitbucketDataCenterConfig = z.strictObject({
  kind: z.literal("bitbucket-datacenter"),
  ...common,
  /**
   * The HTTP access token of an account, with repository admin, without which Bitbucket shows no webhooks. Tokens of projects and
   * repositories do not do: git may not use them as a password.
   */
  token: hidden,
  webhookSecrets: rotating,
  oauth: oauthClient.optional(),
});
export type BitbucketDataCenterConfig = z.infer<typeof BitbucketDataCenterConfig>;

export const HostConfig = z.discriminatedUnion("kind", [
  GitHubConfig,
  GitLabConfig,
  BitbucketCloudConfig,
  BitbucketDataCenterConfig,
]);
export type HostConfig = z.infer<typeof HostConfig>;

const HostsFile = z.array(HostConfig).max(20);

/** The source hosts that the operator names in a file. @throws KnownError `config-invalid` with every problem of it. */
export function readHostsFile(file: string): readonly HostConfig[] {
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    // What is wrong with JSON is told by quoting it, secrets and all.
    const why = error instanceof SyntaxError ? `it is no JSON${placeOf(error)}` : errorMessage(error);
    throw new KnownError("config-invalid", `The source hosts in ${file} cannot be read: ${why}`);
  }
  const parsed = HostsFile.safeParse(content);
  if (!parsed.success) {
    const problems = parsed.error.issues.map(({ path, message }) => `  ${path.join(".")}: ${message}`);
    throw new KnownError(
      "config-invalid",
      `The source hosts in ${file} cannot be used:\n${problems.join("\n")}`,
    );
  }
  const instances = parsed.data.map(instanceOf);
  const twice = instances.find((instance, i) => instances.indexOf(instance) !== i);
  if (twice !== undefined)
    throw new KnownError("config-invalid", `The source hosts in ${file} name ${twice} twice.`);
  refuseSharedSecrets(parsed.data, file);
  return parsed.data;
}

/** A delivery is taken for the first host of the vendor whose secret it bears. */
function refuseSharedSecrets(hosts: readonly HostConfig[], file: string): void {
  const holders = new Map<string, HostConfig>();
  for (const host of hosts) {
    for (const proof of proofsOf(host)) {
      const holder = holders.get(proof);
      if (holder !== undefined && holder !== host) {
        throw new KnownError(
          "config-invalid",
          `The source hosts ${instanceOf(holder)} and ${instanceOf(host)} in ${file} have a webhook secret in common, so that a ` +
            "delivery could be either's. Give each its own.",
        );
      }
      holders.set(proof, host);
    }
  }
}

/** Vendors have an address each that their hosts deliver to. */
function proofsOf(host: HostConfig): readonly string[] {
  const secrets =
    host.kind === "gitlab"
      ? [...(host.webhookTokens ?? []), ...(host.signingTokens ?? [])]
      : host.webhookSecrets;
  const [vendor] = host.kind.split("-");
  return secrets.map((secret) => `${vendor} ${secret.reveal()}`);
}

function placeOf({ message }: SyntaxError): string {
  return / \(line \d+ column \d+\)$/.exec(message)?.[0] ?? "";
}

function isTextOrFile(value: unknown): value is string | { readonly file: string } {
  return typeof value === "string" || z.strictObject({ file: z.string().min(1) }).safeParse(value).success;
}

/** Part of the identity of every owner and person of the host: host, port and path of its address. */
export function instanceOf({ url }: Pick<HostConfig, "url">): string {
  const { host, pathname } = new URL(url);
  return `${host}${pathname}`.replace(/\/+$/, "");
}
