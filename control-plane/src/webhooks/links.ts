import type { RemoteHost } from "../ports/source-host/remote-host.ts";
import type { SourceKey } from "../ports/source-host/source-host.ts";
import type { NamedRepository } from "../ports/store/repositories.ts";

/** Brings what the store knows of remote repositories in line with what their hosts say. */
export interface Links {
  /** @throws HostUnavailable */
  look(host: RemoteHost, key: SourceKey, signal: AbortSignal): Promise<Looked>;
  /** Everything behind a grant. @throws HostUnavailable */
  lookAtInstallation(host: RemoteHost, installation: string, signal: AbortSignal): Promise<readonly Looked[]>;
}

export type Looked =
  | { readonly kind: "linked"; readonly repository: NamedRepository; readonly isNew: boolean }
  | { readonly kind: "not-linked"; readonly reason: string };

export interface Memberships {
  /** What is known of who may do what counts no more, for this person or for everybody of the owner. */
  staleFor(who: { readonly instance: string; readonly person?: string; readonly owner?: string }): void;
}
