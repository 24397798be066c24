/** Measured, idle: 14 MB less than with V8's 16 MB of young generation. */
const SMALL_YOUNG_GENERATION = "--max-semi-space-size=2";

/**
 * Of each half, for the edge; V8's own bound is 64 MB on a large machine. Measured, saturated by 64 connections: 18 MB less
 * than with 16, saturated by 1,000 60 MB less, and requests cost the same processor time.
 */
const BOUNDED_YOUNG_GENERATION = "--max-semi-space-size=4";

/** Lets a plane give back what loading it left over, once it is ready. Measured, idle: 15 MB less for each. */
const COLLECT_WHEN_READY = "--expose-gc";

/** Node's, for each plane. Whoever measures an edge starts it by the same ones. */
export const EDGE_FLAGS: readonly string[] = [COLLECT_WHEN_READY, BOUNDED_YOUNG_GENERATION];
export const CONTROL_PLANE_FLAGS: readonly string[] = [COLLECT_WHEN_READY, SMALL_YOUNG_GENERATION];

/** For the environment of either. Measured, idle: 3 MB less than with a malloc arena for each thread. */
export const FEWER_ARENAS = { MALLOC_ARENA_MAX: "2" } as const;

/** In-flight requests of the edge have so long; the log streams of open dashboards would use up any longer time. */
export const EDGE_DRAIN_MS = 5_000;

/** What a person's environment may decide for the planes: where programs and files are, and how registries are reached. */
const PASSED_ON =
  /^(PATH|HOME|LANG|LC_ALL|TZ|TMPDIR|LOG_LEVEL|(HTTPS?|NO)_PROXY|SSL_CERT_(FILE|DIR)|NODE_EXTRA_CA_CERTS|npm_execpath|(CONTROL_PLANE|EDGE)_\w+)$/i;

export function passedOn(environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment).flatMap(([name, value]) =>
      PASSED_ON.test(name) && value !== undefined ? [[name, value]] : [],
    ),
  );
}

/** From being told to go to being killed. */
export const EDGE_STOP_MS = EDGE_DRAIN_MS + 2_000;
