import { execFile } from "node:child_process";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { errorMessage, KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { errorCode } from "./error-code.ts";
import { NewFolders } from "./new-folders.ts";

const run = promisify(execFile);

/** Everything the platform keeps, below one folder that nobody else can look into. */
export interface DataFolder extends Disposable {
  readonly path: string;
  readonly edge: string;
  readonly controlPlane: string;
  readonly logs: string;
  readonly keys: string;
  /** Removes what opening it made and nothing came into. */
  [Symbol.dispose](): void;
}

/** Made once for a data folder and kept, so that a second start prints the same push URL. */
export interface Keys {
  readonly feedCredential: string;
  /** The local owner's token for `git push`. */
  readonly pushToken: string;
}

/** The file of it, below the keys. */
export const PUSH_TOKEN = "push-token";

/** @throws KnownError `data-unusable`, with everything as it was */
export function openDataFolder(given: string): DataFolder {
  const path = resolve(given);
  const folder = {
    path,
    edge: join(path, "edge"),
    controlPlane: join(path, "control-plane"),
    logs: join(path, "logs"),
    keys: join(path, "keys"),
  };
  const made = new NewFolders();
  try {
    for (const each of Object.values(folder)) made.make(each);
    chmodSync(path, 0o700);
  } catch (error) {
    made[Symbol.dispose]();
    const message = `The data folder ${path} cannot be used: ${errorMessage(error)}. Choose another one with --data.`;
    throw new KnownError("data-unusable", message, { cause: error });
  }
  return { ...folder, [Symbol.dispose]: () => made[Symbol.dispose]() };
}

export async function keepKeys(data: DataFolder): Promise<Keys> {
  return {
    feedCredential: await keep(join(data.keys, "feed-credential"), ""),
    pushToken: await keep(join(data.keys, PUSH_TOKEN), "ofc_"),
  };
}

/** The local owner: as asked and checked, else the first one this folder had, else after the person's name in git. */
export async function chooseOwner(data: DataFolder, asked: string | undefined): Promise<string> {
  const file = join(data.path, "owner");
  const remembered = read(file);
  if (asked === undefined && remembered !== undefined) return remembered;
  const chosen = asked ?? (await ownerFromGit());
  if (remembered === undefined) writeFileSync(file, `${chosen}\n`, { mode: 0o600 });
  return chosen;
}

/** @throws KnownError `usage` where it cannot be an owner */
export async function checkOwner(asked: string): Promise<void> {
  const slug = await slugOf(asked);
  if (slug === asked) return;
  const hint = slug === undefined ? "" : ` "${slug}" would do.`;
  throw new KnownError(
    "usage",
    `--owner must be 1 to 63 of a-z, 0-9 and -, and no reserved word; "${asked}" is not.${hint}`,
  );
}

async function ownerFromGit(): Promise<string> {
  const name = await run("git", ["config", "user.name"]).then(
    ({ stdout }) => stdout.trim(),
    () => "",
  );
  return (await slugOf(name)) ?? "dev";
}

/** Asked of a process that ends, since the schemas behind it would stay in this one's memory for good (15 MB). */
async function slugOf(name: string): Promise<string | undefined> {
  const program = fileURLToPath(new URL("owner-slug.ts", import.meta.url));
  const { stdout } = await run(process.execPath, [program, name]);
  return stdout === "" ? undefined : stdout;
}

async function keep(file: string, prefix: string): Promise<string> {
  const kept = read(file);
  if (kept !== undefined) return kept;
  const { randomBytes } = await import("node:crypto");
  const made = prefix + randomBytes(32).toString("base64url");
  writeFileSync(file, `${made}\n`, { mode: 0o600 });
  return made;
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8").trim() || undefined;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw new KnownError("data-unusable", `${file} cannot be read: ${errorCode(error)}`, { cause: error });
  }
}
