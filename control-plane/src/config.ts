import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { isAbsolute } from "node:path";
import { port, positiveInteger, readEnv, type Secret, secret } from "@openfaas-cloud/shared/env.ts";
import { errorMessage, KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { OwnerSlug } from "@openfaas-cloud/shared/names.ts";
import { z } from "zod";
import { type HostConfig, readHostsFile } from "./ports/source-host/host-config.ts";

export interface ControlPlaneConfig {
  readonly host: string;
  readonly port: number;
  readonly adminHost: string;
  readonly adminPort: number;
  readonly dataDir: string;
  readonly feedCredential: Secret;
  /** Scheme, functions domain and port as the world sees them: `http://localhost:8080`. */
  readonly publicUrl: string;
  /** The owner that whoever started the platform acts for, and the token that person pushes with. */
  readonly local: { readonly owner: OwnerSlug; readonly token: Secret };
  readonly logLevel: string;
  readonly concurrentRuns: number;
  readonly parallelFunctions: number;
  readonly runTimeoutMs: number;
  readonly buildTimeoutMs: number;
  readonly healthTimeoutMs: number;
  /** The most that one function may ask for. */
  readonly maxima: Maxima;
  /** Source hosts that the operator names; more may be added from the dashboard. */
  readonly hosts: readonly HostConfig[];
  /** Where GitHub Apps are made from the dashboard. */
  readonly gitHub: GitHubPlace;
  /** Which owners of remote hosts may deploy: a file or a URL; nobody where there is neither. */
  readonly customers: Customers | undefined;
  /** Subjects of the people who run the platform, beside the local one. */
  readonly operators: ReadonlySet<string>;
  /** Where audit events are told besides the store and the log. */
  readonly auditReceivers: {
    readonly webhook: { readonly url: string; readonly secret: Secret } | undefined;
    readonly slackUrl: string | undefined;
  };
}

export interface Maxima {
  readonly maxMemoryBytes: number;
  readonly maxBodyBytes: number;
  readonly maxConcurrency: number;
  readonly maxTimeoutMs: number;
  readonly maxRatePerS: number;
}

export interface GitHubPlace {
  readonly url: string;
  /** `undefined` for the API that belongs to `url`. */
  readonly apiUrl: string | undefined;
  /** PEM of a certificate authority to trust besides the well-known ones. */
  readonly ca: string | undefined;
}

export type Customers =
  | { readonly kind: "file"; readonly file: string }
  | { readonly kind: "url"; readonly url: string };

const httpUrl = z.url({ protocol: /^https?$/ }).transform((url) => url.replace(/\/+$/, ""));

const Environment = z.object({
  CONTROL_PLANE_HOST: z.string().default("127.0.0.1"),
  CONTROL_PLANE_PORT: port.default(0),
  CONTROL_PLANE_ADMIN_HOST: z.string().default("127.0.0.1"),
  CONTROL_PLANE_ADMIN_PORT: port.default(0),
  CONTROL_PLANE_DATA: z.string().refine(isAbsolute, "must be an absolute path"),
  FEED_CREDENTIAL: secret,
  PUBLIC_URL: z.url({ protocol: /^https?$/ }),
  LOCAL_OWNER: OwnerSlug,
  LOCAL_TOKEN: secret,
  LOG_LEVEL: z.enum(["fatal", "error", "warn", "info", "debug", "trace"]).default("info"),
  CONTROL_PLANE_CONCURRENT_RUNS: positiveInteger.default(2),
  CONTROL_PLANE_PARALLEL_FUNCTIONS: positiveInteger.default(Math.max(2, availableParallelism())),
  CONTROL_PLANE_RUN_TIMEOUT_MS: positiveInteger.default(30 * 60_000),
  CONTROL_PLANE_BUILD_TIMEOUT_MS: positiveInteger.default(10 * 60_000),
  CONTROL_PLANE_HEALTH_TIMEOUT_MS: positiveInteger.default(30_000),
  CONTROL_PLANE_MAX_MEMORY_BYTES: positiveInteger.default(1024 * 1024 * 1024),
  CONTROL_PLANE_MAX_BODY_BYTES: positiveInteger.default(100 * 1024 * 1024),
  CONTROL_PLANE_MAX_CONCURRENCY: positiveInteger.default(10_000),
  CONTROL_PLANE_MAX_TIMEOUT_MS: positiveInteger.default(15 * 60_000),
  CONTROL_PLANE_MAX_RATE_PER_S: positiveInteger.default(100_000),
  CONTROL_PLANE_SOURCE_HOSTS: z.string().optional(),
  CONTROL_PLANE_GITHUB_URL: httpUrl.default("https://github.com"),
  CONTROL_PLANE_GITHUB_API_URL: httpUrl.optional(),
  CONTROL_PLANE_GITHUB_CA: z.string().optional(),
  CONTROL_PLANE_CUSTOMERS: z.string().optional(),
  CONTROL_PLANE_CUSTOMERS_URL: httpUrl.optional(),
  CONTROL_PLANE_OPERATORS: z
    .string()
    .default("")
    .transform((list) => new Set(list.split(/[\s,]+/).filter((subject) => subject !== ""))),
  CONTROL_PLANE_AUDIT_WEBHOOK_URL: httpUrl.optional(),
  CONTROL_PLANE_AUDIT_WEBHOOK_SECRET: secret.optional(),
  CONTROL_PLANE_AUDIT_SLACK_URL: httpUrl.optional(),
});

/** @throws KnownError `config-invalid` with every variable that does not do, or every problem of the file of source hosts. */
export function readConfig(environment: Readonly<Record<string, string | undefined>>): ControlPlaneConfig {
  const env = readEnv(Environment, environment);
  return {
    host: env.CONTROL_PLANE_HOST,
    port: env.CONTROL_PLANE_PORT,
    adminHost: env.CONTROL_PLANE_ADMIN_HOST,
    adminPort: env.CONTROL_PLANE_ADMIN_PORT,
    dataDir: env.CONTROL_PLANE_DATA,
    feedCredential: env.FEED_CREDENTIAL,
    publicUrl: env.PUBLIC_URL,
    local: { owner: env.LOCAL_OWNER, token: env.LOCAL_TOKEN },
    logLevel: env.LOG_LEVEL,
    concurrentRuns: env.CONTROL_PLANE_CONCURRENT_RUNS,
    parallelFunctions: env.CONTROL_PLANE_PARALLEL_FUNCTIONS,
    runTimeoutMs: env.CONTROL_PLANE_RUN_TIMEOUT_MS,
    buildTimeoutMs: env.CONTROL_PLANE_BUILD_TIMEOUT_MS,
    healthTimeoutMs: env.CONTROL_PLANE_HEALTH_TIMEOUT_MS,
    maxima: {
      maxMemoryBytes: env.CONTROL_PLANE_MAX_MEMORY_BYTES,
      maxBodyBytes: env.CONTROL_PLANE_MAX_BODY_BYTES,
      maxConcurrency: env.CONTROL_PLANE_MAX_CONCURRENCY,
      maxTimeoutMs: env.CONTROL_PLANE_MAX_TIMEOUT_MS,
      maxRatePerS: env.CONTROL_PLANE_MAX_RATE_PER_S,
    },
    hosts: env.CONTROL_PLANE_SOURCE_HOSTS === undefined ? [] : readHostsFile(env.CONTROL_PLANE_SOURCE_HOSTS),
    gitHub: {
      url: env.CONTROL_PLANE_GITHUB_URL,
      apiUrl: env.CONTROL_PLANE_GITHUB_API_URL,
      ca: authority(env.CONTROL_PLANE_GITHUB_CA),
    },
    customers: customers(env.CONTROL_PLANE_CUSTOMERS, env.CONTROL_PLANE_CUSTOMERS_URL),
    operators: env.CONTROL_PLANE_OPERATORS,
    auditReceivers: {
      webhook: auditWebhook(env.CONTROL_PLANE_AUDIT_WEBHOOK_URL, env.CONTROL_PLANE_AUDIT_WEBHOOK_SECRET),
      slackUrl: env.CONTROL_PLANE_AUDIT_SLACK_URL,
    },
  };
}

function authority(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new KnownError("config-invalid", `CONTROL_PLANE_GITHUB_CA cannot be read: ${errorMessage(error)}`);
  }
}

/** Unsigned, whoever finds the address could make the platform's acts up. */
function auditWebhook(url: string | undefined, key: Secret | undefined) {
  if (url === undefined) return undefined;
  if (key !== undefined) return { url, secret: key };
  throw new KnownError(
    "config-invalid",
    "CONTROL_PLANE_AUDIT_WEBHOOK_SECRET is needed where CONTROL_PLANE_AUDIT_WEBHOOK_URL is given: it signs what is sent there.",
  );
}

function customers(file: string | undefined, url: string | undefined): Customers | undefined {
  if (file !== undefined) return { kind: "file", file };
  return url === undefined ? undefined : { kind: "url", url };
}
