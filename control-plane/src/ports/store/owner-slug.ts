import { labelOf, OwnerSlug, RESERVED_SLUGS } from "@openfaas-cloud/shared/names.ts";
import { sha256 } from "../../ids.ts";

const LONGEST = 63;
const LONGEST_HOST = 20;
/** After so many numbers a digest is no worse to read, and found at once. */
const LAST_NUMBER = 9;
const DIGEST_LENGTH = 8;
const IP_ADDRESS = /^(\d{1,3}(\.\d{1,3}){3}|\[.*\])$/;

export interface SlugIdentity {
  /** Of the source host: `github.com`, `gitlab.example.com/git`. */
  readonly instance: string;
  /** The host's own id of the account. */
  readonly sourceId: string;
  readonly login: string;
}

/**
 * Slugs for an owner, the one that is liked best first and without an end; the first that nobody has is the owner's for good.
 * `alice`; where that is another's `alice-gitlab`, then `alice-gitlab-2` …, then one with a digest of who it is. Each is a DNS
 * label and none is reserved.
 */
export function* slugCandidates(identity: SlugIdentity): Generator<OwnerSlug, never> {
  for (const label of labels(identity)) if (!RESERVED_SLUGS.has(label)) yield label;
  throw new Error("unreachable: there is no end of labels");
}

function* labels({ instance, sourceId, login }: SlugIdentity): Generator<OwnerSlug, never> {
  const own = labelOf(login);
  if (own !== undefined) yield own;
  const base = own ?? "owner";
  const host = hostLabel(instance);
  yield withSuffix(base, host);
  for (let number = 2; number <= LAST_NUMBER; number++) yield withSuffix(base, `${host}-${number}`);
  for (let round = 0; ; round++) {
    const digest = sha256(JSON.stringify([instance, sourceId, round]));
    yield withSuffix(base, digest.slice(0, DIGEST_LENGTH));
  }
}

/** `github.com` → `github`, `git.example.com` → `git`, and an address as it is. */
function hostLabel(instance: string): string {
  const { hostname } = new URL(`https://${instance}`);
  const [first = ""] = hostname.replace(/^www\./, "").split(".");
  const label = labelOf(IP_ADDRESS.test(hostname) ? hostname : first) ?? "host";
  return label.slice(0, LONGEST_HOST).replace(/-+$/, "");
}

function withSuffix(base: string, suffix: string): OwnerSlug {
  const room = LONGEST - suffix.length - 1;
  return OwnerSlug.parse(`${base.slice(0, room).replace(/-+$/, "")}-${suffix}`);
}
