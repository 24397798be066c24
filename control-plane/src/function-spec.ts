import type { FunctionName } from "@openfaas-cloud/shared/names.ts";
import type { Access, RouteLimits } from "@openfaas-cloud/shared/route.ts";

/** One function as its stack file asks for it, checked and with the platform's defaults filled in. */
export interface FunctionSpec {
  readonly name: FunctionName;
  /** Template name as written, before aliases are resolved (`node`, `python3` …). */
  readonly lang: string;
  /** Folder of the handler, relative to the repository's root, `/`-separated, without `.` and `..` parts. */
  readonly handler: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Names of the owner's secrets that appear as files in the function. */
  readonly secrets: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly buildArgs: Readonly<Record<string, string>>;
  readonly memoryLimitBytes: number;
  readonly replicas: number;
  /** Path that answers 2xx once the function can take requests. */
  readonly healthPath: string;
  /** How long to wait before the first health check, milliseconds. */
  readonly healthInitialDelayMs: number;
  readonly access: Access;
  /** What it asks of the edge beside the defaults; absent where it asks for nothing. */
  readonly routeLimits?: Partial<RouteLimits>;
}
