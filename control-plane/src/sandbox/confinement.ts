import type { Command, Isolation, Mount } from "./sandbox.ts";

/** How a sandbox turns a command into what is really started. */
export interface Confinement {
  readonly isolation: Isolation;
  view(mount: Mount): string;
  /** `settings` go to the file over a pipe, as its descriptor 3, where they are secret. */
  wrap(command: Command): {
    readonly file: string;
    readonly args: readonly string[];
    readonly environment: Readonly<Record<string, string>>;
    readonly settings: string | undefined;
  };
}

/** None: commands run as they are. */
export function unconfined(reason: string): Confinement {
  return {
    isolation: { kind: "none", reason },
    view: (mount) => mount.host,
    wrap: (command) => ({
      file: command.file,
      args: command.args,
      environment: command.environment,
      settings: undefined,
    }),
  };
}
