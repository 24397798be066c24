import type { OwnerFacts } from "../remote-host.ts";
import type { Project } from "./data-center-schemas.ts";

/** `ACME` is known as `acme` here, and what Alice has for herself as `~alice`. */
export function ownerOf({ id, key, type }: Project): OwnerFacts {
  return { sourceId: id, login: key.toLowerCase(), kind: type === "PERSONAL" ? "person" : "organization" };
}
