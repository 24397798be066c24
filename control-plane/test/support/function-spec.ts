import { FunctionName } from "@openfaas-cloud/shared/names.ts";
import type { FunctionSpec } from "../../src/function-spec.ts";

/** A node function in the folder `handler`, but for what is given. */
export function functionSpec(spec: Partial<FunctionSpec>): FunctionSpec {
  return {
    name: FunctionName.parse("hello"),
    lang: "node22",
    handler: "handler",
    environment: {},
    secrets: [],
    labels: {},
    annotations: {},
    buildArgs: {},
    memoryLimitBytes: 128 * 1024 * 1024,
    replicas: 1,
    healthPath: "/_/health",
    healthInitialDelayMs: 0,
    access: "public",
    ...spec,
  };
}
