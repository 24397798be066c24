import { z } from "zod";

/** Host-only by its prefix (RFC 6265bis §4.1.3.2): a browser sends it to the system host and to nobody else. */
export const SESSION_COOKIE = "__Host-openfaas_cloud_token";

/** Every cookie the platform owns begins so. The edge removes them from what functions see and from what functions set. */
export const PLATFORM_COOKIE_PREFIX = "__Host-openfaas_cloud_";

export const SESSION_ISSUER = "openfaas-cloud";
export const SESSION_MAX_AGE_S = 8 * 60 * 60;
/** By how much the clocks of those who issue and those who verify may differ. */
export const CLOCK_TOLERANCE_S = 60;

/** Claims of a session token (JWT, ES256). The names are those of OpenFaaS Cloud, without any source-host token. */
export const SessionClaims = z.object({
  /** The person, stable: `<source-host instance>:<numeric id or local name>`. */
  sub: z.string().min(1).max(200),
  name: z.string().max(200),
  /** Slugs of the owners the person may act for. */
  organizations: z.array(z.string()).max(1000),
  iss: z.literal(SESSION_ISSUER),
  aud: z.string(),
  jti: z.string(),
  iat: z.number(),
  exp: z.number(),
});
export type SessionClaims = z.infer<typeof SessionClaims>;

/** A public key the edge verifies session tokens with (JWK, RFC 7517; P-256 only). */
export const VerificationKey = z.object({
  kid: z.string().min(1).max(100),
  kty: z.literal("EC"),
  crv: z.literal("P-256"),
  x: z.string().max(100),
  y: z.string().max(100),
});
export type VerificationKey = z.infer<typeof VerificationKey>;
