import { z } from "zod";

const DNS_LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** An owner's label in its URLs: a lower-case DNS label (RFC 1123), allocated once and never reused. */
export const OwnerSlug = z
  .string()
  .regex(DNS_LABEL, "must be 1 to 63 of a-z, 0-9 and -, and neither begin nor end with -")
  .brand<"OwnerSlug">();
export type OwnerSlug = z.infer<typeof OwnerSlug>;

/** A function's name, unique within its owner. The pair (owner, function name) is its identity; the two are never joined. */
export const FunctionName = z
  .string()
  .regex(DNS_LABEL, "must be 1 to 63 of a-z, 0-9 and -, and neither begin nor end with -")
  .brand<"FunctionName">();
export type FunctionName = z.infer<typeof FunctionName>;

/** Characters, with the groups that a repository is in. */
export const MAX_REPOSITORY_NAME = 255;

/**
 * A repository's name within its owner, without the `.git` that URLs may carry. Hosts with nested groups (GitLab) put the groups
 * below the owner in front of it: `team/site`.
 */
export const RepositoryName = z
  .string()
  .max(MAX_REPOSITORY_NAME)
  .regex(
    /^(?!.*\.\.)(?:(?![.-])[A-Za-z0-9._-]{1,100}(?<!\.git|\.lock)(?:\/(?=.)|$)){1,20}$/,
    "must be 1 to 100 of letters, digits, '.', '_' and '-', must not begin with '.' or '-', nor end with .git or .lock",
  )
  .brand<"RepositoryName">();
export type RepositoryName = z.infer<typeof RepositoryName>;

/** A full object name of a commit: 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits, never all zero. */
export const CommitSha = z
  .string()
  .regex(/^(?!0+$)([0-9a-f]{40}|[0-9a-f]{64})$/, "must be a full commit id")
  .brand<"CommitSha">();
export type CommitSha = z.infer<typeof CommitSha>;

/** A branch's short name (`main`, not `refs/heads/main`), in the subset of git-check-ref-format(1) that needs no quoting. */
export const BranchName = z
  .string()
  .regex(
    /^(?![-./])(?!.*(\.\.|\/\/|\/\.|@\{|\.lock(\/|$)))[\w.\-/@+#=]{1,200}(?<![./])$/,
    "must be a plain branch name",
  )
  .brand<"BranchName">();
export type BranchName = z.infer<typeof BranchName>;

/** Slugs that nobody may have: labels the platform answers itself, or that people take for the platform. */
export const RESERVED_SLUGS: ReadonlySet<string> = new Set([
  "account",
  "admin",
  "api",
  "audit",
  "auth",
  "badge",
  "dashboard",
  "gateway",
  "git",
  "hosts",
  "localhost",
  "login",
  "oauth2",
  "openfaas",
  "repositories",
  "runs",
  "secrets",
  "settings",
  "sign-in",
  "status",
  "system",
  "www",
]);

/** A person's or machine's free-form name as an owner slug, or `undefined` where nothing usable is left of it. */
export function slugify(name: string): OwnerSlug | undefined {
  const label = labelOf(name);
  return label === undefined || RESERVED_SLUGS.has(label) ? undefined : label;
}

/** As `slugify`, also of words that nobody may have as they are. */
export function labelOf(name: string): OwnerSlug | undefined {
  const label = name
    .normalize("NFKD")
    .toLowerCase()
    .replaceAll(/[\u0300-\u036f]/g, "")
    .replaceAll(/[^a-z0-9]+/g, "-")
    .slice(0, 63)
    .replaceAll(/^-+|-+$/g, "");
  return OwnerSlug.safeParse(label).data;
}

/** The first seven digits, as people read commits. */
export function shortCommit(commit: CommitSha): string {
  return commit.slice(0, 7);
}
