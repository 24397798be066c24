import type { FunctionSpec } from "../../function-spec.ts";
import type { LanguageSupport } from "../../templates/templates.ts";
import type { LogSink } from "../log-store/log-store.ts";

/** Something a runtime can start: immutable, known by the digest of its content. */
export interface Artifact {
  /** `sha256:` and 64 hexadecimal digits. */
  readonly digest: string;
  /** Where the matching runtime finds it: for `process`, the name of its folder below the artifact root. */
  readonly reference: string;
}

export interface BuildRequest {
  readonly runId: string;
  /** Caches are kept per owner and never shared. */
  readonly ownerId: string;
  readonly spec: FunctionSpec;
  /** Root of the checked-out repository. Read, never written. */
  readonly sourceDir: string;
}

/**
 * Makes a function's source into an artifact.
 *
 * A build touches nothing outside a folder of its own, which is gone when it ends however it ends. It has a deadline,
 * and caps on what it prints and on what it writes to the disk. When `signal` aborts, every process of the build has ended before the promise settles.
 * Building the same source twice gives an artifact that works the same and is harmless.
 */
export interface Builder extends AsyncDisposable {
  /** Names of the templates there are, without their aliases, whether or not they can be built here. */
  readonly templates: readonly string[];
  /** Whether functions of this `lang` can be built here, and what is needed where they cannot. */
  supports(lang: string): LanguageSupport;
  /**
   * @throws Rejected `build-failed` (a step failed: which, its exit code; or too much was written), `build-timeout`, `handler-invalid`,
   *   `language-unsupported`;
   *   Retryable where the platform could not do its part; the signal's reason where that aborted.
   */
  build(
    request: BuildRequest,
    options: { readonly log: LogSink; readonly signal: AbortSignal },
  ): Promise<Artifact>;
  /** Removes artifacts whose digest is not in `keep`, except those that a build gave a short while ago. */
  collect(keep: ReadonlySet<string>): Promise<void>;
}
