import { SESSION_ISSUER } from "@openfaas-cloud/shared/session.ts";

/** Every access token of the platform begins so. */
const TOKEN_PREFIX = "ofc_";

/**
 * Whether an `Authorization` value is the platform's own: a session token, or an access token as bearer, user or password.
 * Looks at what it claims to be and verifies nothing: one that has expired must not reach a function either.
 */
export function isPlatformCredential(authorization: string): boolean {
  const [scheme = "", credential = ""] = authorization.trim().split(/[ \t]+/, 2);
  switch (scheme.toLowerCase()) {
    case "bearer":
      return credential.startsWith(TOKEN_PREFIX) || isSessionToken(credential);
    case "basic": {
      const pair = Buffer.from(credential, "base64").toString("latin1");
      return pair.startsWith(TOKEN_PREFIX) || pair.includes(`:${TOKEN_PREFIX}`);
    }
    default:
      return false;
  }
}

function isSessionToken(token: string): boolean {
  const parts = token.split(".");
  if (parts.length !== 3) return false;
  try {
    const payload: unknown = JSON.parse(Buffer.from(parts[1] ?? "", "base64url").toString("utf8"));
    return (
      payload !== null && typeof payload === "object" && "iss" in payload && payload.iss === SESSION_ISSUER
    );
  } catch {
    return false;
  }
}
