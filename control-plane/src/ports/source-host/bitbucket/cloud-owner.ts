import type { OwnerFacts } from "../remote-host.ts";
import type { Workspace } from "./cloud-schemas.ts";

export function ownerOf({ uuid, slug }: Workspace, isPerson: boolean): OwnerFacts {
  return { sourceId: uuid, login: slug.toLowerCase(), kind: isPerson ? "person" : "organization" };
}

/** @param names slugs, or ids in braces. */
export function isAmong(names: readonly string[], { uuid, slug }: Workspace): boolean {
  const wanted = [slug.toLowerCase(), `{${uuid}}`];
  return names.some((name) => wanted.includes(name.toLowerCase()));
}
