import type { VerificationKey } from "@openfaas-cloud/shared/session.ts";
import type { Program } from "../programs.ts";
import type { Cores } from "../server-process.ts";
import { type Case, publicPath } from "../workload.ts";

/** What a run's comparators have in common. */
export interface Bed {
  readonly folder: string;
  readonly cores: Cores;
  /** How many cores a comparator may use: workers, or threads. The Node proxies have but one. */
  readonly workers: number;
  readonly upstreamPort: number;
  readonly upstreamPid: number;
  /** Verifies `token`, a session token of alice. */
  readonly key: VerificationKey;
  readonly token: string;
  /** Folder for the processor profiles of our edges, where they are asked for: `<name>.cpuprofile`. */
  readonly profiles?: string;
}

/** Something that answers the workload, started and listening. */
export interface Comparator extends AsyncDisposable {
  readonly port: number;
  /** What does its work; everything below these processes counts with them. */
  readonly pids: readonly number[];
  /** Called between two rounds. */
  readonly settle?: () => void;
}

export interface ComparatorPlan {
  readonly name: string;
  /** What it is and does, in a line, for the people who read the table. */
  readonly what: string;
  readonly needs: readonly Program[];
  /** Whether it takes part where nobody has to be anybody, and where somebody has to. */
  readonly serves: (asked: Case) => boolean;
  readonly path: (asked: Case) => string;
  readonly start: (bed: Bed) => Promise<Comparator>;
}

/** Forwards whatever token there is, and so has no place where somebody has to be somebody. */
export const PUBLIC_ONLY = {
  serves: ({ signedIn }: Case) => !signedIn,
  path: publicPath,
} as const;
