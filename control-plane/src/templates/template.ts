import type { ToolchainName } from "./toolchains.ts";

/** One command of a build, run in the work folder's root. */
export interface Step {
  /** As people write it, for logs and messages: `npm ci`. */
  readonly title: string;
  /** First word: a name of a toolchain, or `npm`, which is node's. */
  readonly argv: readonly [ToolchainName | "npm", ...string[]];
  /** Relative to the work folder's root. */
  readonly folder: string;
}

/** What a template may look at to decide what a build needs: the author's files, as staged. */
export interface StagedHandler {
  exists(path: string): boolean;
  /** The text, or `undefined` where there is no such file. */
  read(path: string): string | undefined;
  /** Whether any file of the handler, outside `vendor` and `node_modules`, has this ending. */
  hasFile(ending: string): boolean;
}

export interface BuildPlan {
  /** Made from the template in addition to its own files: path relative to the root → content. */
  readonly files: Readonly<Record<string, string>>;
  readonly steps: readonly Step[];
}

/** What a handler lacks, for its author. */
export interface Refusal {
  readonly problem: string;
}

/**
 * How functions of one language are made and run by processes. The handler's folder is copied to `handlerFolder`, the
 * template's own files around it.
 */
export interface Template {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly toolchain: ToolchainName;
  /** Files of the template's folder, and where below the work folder's root they are copied to. */
  readonly files: Readonly<Record<string, string>>;
  readonly handlerFolder: string;
  /** `build_args` that mean something here: they are given to the steps as environment. */
  readonly buildArgs: readonly string[];
  /** Environment of the steps. `cache` is a folder that builds of the same owner share. */
  buildEnvironment(places: {
    readonly cache: string;
    readonly root: string;
  }): Readonly<Record<string, string>>;
  plan(handler: StagedHandler, toolchain: { readonly version: string }): BuildPlan | Refusal;
  /** What of the work folder's root goes into the artifact; all of it where absent. */
  readonly ships?: readonly string[];
  readonly start: StartCommand;
}

/** How an artifact is started, kept in it. */
export interface StartCommand {
  /** The toolchain's program, or `undefined` where the artifact holds the program: then `args[0]` is its path. */
  readonly program?: ToolchainName;
  /** Argument that takes a heap limit in MiB at its end, put before the others. */
  readonly heapArgument?: string;
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}
