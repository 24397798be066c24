import { DEFAULT_ROUTE_LIMIT_MAXIMA, type RouteLimitMaxima } from "./route-limits.ts";

/** The most that a function may ask for. */
export interface StackFileLimits extends RouteLimitMaxima {
  readonly defaultMemoryBytes: number;
  readonly maxMemoryBytes: number;
  readonly maxReplicas: number;
}

const MiB = 1024 * 1024;

export const DEFAULT_STACK_FILE_LIMITS: StackFileLimits = {
  ...DEFAULT_ROUTE_LIMIT_MAXIMA,
  defaultMemoryBytes: 128 * MiB,
  maxMemoryBytes: 1024 * MiB,
  maxReplicas: 10,
};
