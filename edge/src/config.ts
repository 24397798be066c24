import { port, positiveInteger, readEnv, type Secret, secret } from "@openfaas-cloud/shared/env.ts";
import { z } from "zod";

/** What was asked of this edge. Made once, from the environment, by `readConfig`; nothing else reads the environment. */
export interface EdgeConfig {
  readonly host: string;
  readonly port: number;
  readonly adminHost: string;
  readonly adminPort: number;
  /** Directory of the route-table generations. */
  readonly dataDirectory: string;
  readonly domains: Domains;
  /** Origin of the control plane: scheme, host and port. */
  readonly controlPlaneUrl: string;
  readonly feedCredential: Secret;
  readonly logLevel: LogLevel;
  readonly drainMs: number;
}

/** The two domains this edge answers for; they may be one. Lower case, no trailing dot. */
export interface Domains {
  readonly functions: string;
  readonly system: string;
}

export type LogLevel = z.infer<typeof LogLevel>;
const LogLevel = z.enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"]);

const domain = z
  .string()
  .toLowerCase()
  .max(190)
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/, "must be a domain name");

const origin = z
  .url({ protocol: /^https?$/, error: "must be an http or https URL" })
  .refine((url) => URL.parse(url)?.pathname === "/", "must be an origin, without a path")
  .transform((url) => new URL(url).origin);

const Environment = z.object({
  EDGE_HOST: z.string().default("127.0.0.1"),
  EDGE_PORT: port.default(8080),
  EDGE_ADMIN_HOST: z.string().default("127.0.0.1"),
  EDGE_ADMIN_PORT: port.default(0),
  EDGE_DATA: z.string(),
  EDGE_DRAIN_MS: positiveInteger.default(30_000),
  FUNCTIONS_DOMAIN: domain.default("localhost"),
  SYSTEM_DOMAIN: domain.optional(),
  CONTROL_PLANE_URL: origin,
  FEED_CREDENTIAL: secret,
  LOG_LEVEL: LogLevel.default("info"),
});

export function readConfig(environment: Readonly<Record<string, string | undefined>>): EdgeConfig {
  const given = readEnv(Environment, environment);
  return {
    host: given.EDGE_HOST,
    port: given.EDGE_PORT,
    adminHost: given.EDGE_ADMIN_HOST,
    adminPort: given.EDGE_ADMIN_PORT,
    dataDirectory: given.EDGE_DATA,
    domains: { functions: given.FUNCTIONS_DOMAIN, system: given.SYSTEM_DOMAIN ?? given.FUNCTIONS_DOMAIN },
    controlPlaneUrl: given.CONTROL_PLANE_URL,
    feedCredential: given.FEED_CREDENTIAL,
    logLevel: given.LOG_LEVEL,
    drainMs: given.EDGE_DRAIN_MS,
  };
}
