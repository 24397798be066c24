/**
 * What an access token may be used for: `read` and `write` what the API tells and does, `push` to the platform's own git,
 * `invoke` functions that ask for a token. `sign-in` makes a session of it, which may do all that its person may: only the
 * token that the start command prints has it, and no token can be made with it.
 */
export const GRANTABLE_SCOPES = ["read", "write", "push", "invoke"] as const;
export type GrantableScope = (typeof GRANTABLE_SCOPES)[number];
export type Scope = GrantableScope | "sign-in";

export const EVERY_SCOPE: readonly Scope[] = [...GRANTABLE_SCOPES, "sign-in"];

/** As the store keeps them. What is not known is left out, so that it allows nothing. */
export function parseScopes(stored: string): readonly Scope[] {
  const listed: unknown = JSON.parse(stored);
  return Array.isArray(listed) ? EVERY_SCOPE.filter((scope) => listed.includes(scope)) : [];
}
