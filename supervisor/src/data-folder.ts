import { execFile } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";

const run = promisify(execFile);

/** Everything the platform keeps, below one folder that nobody else can look into. */
export interface DataFolder {
  readonly path: string;
  readonly edge: string;
  readonly controlPlane: string;
  readonly logs: string;
}

/** Made once for a data folder and kept, so that a second start prints the same push URL. */
export interface Keys {
  readonly feedCredential: string;
  /** The local owner's token for `git push`. */
  readonly pushToken: string;
}

export function openDataFolder(given: string): DataFolder {
  const path = resolve(given);
  const folder = {
    path,
    edge: join(path, "edge"),
    controlPlane: join(path, "control-plane"),
    logs: join(path, "logs"),
  };
  try {
    for (const each of Object.values(folder)) mkdirSync(each, { recursive: true, mode: 0o700 });
    chmodSync(path, 0o700);
  } catch (error) {
    throw new KnownError("data-unusable", `The data folder ${path} cannot be used: ${reason(error)}`, {
      cause: error,
    });
  }
  return folder;
}

export async function keepKeys(data: DataFolder): Promise<Keys> {
  const folder = join(data.path, "keys");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return {
    feedCredential: await keep(join(folder, "feed-credential"), ""),
    pushToken: await keep(join(folder, "push-token"), "ofc_"),
  };
}

/**
 * The local owner: as asked, else the first one this folder had, else after the person's name in git.
 * @throws KnownError `usage` where the one asked for cannot be an owner
 */
export async function chooseOwner(data: DataFolder, asked: string | undefined): Promise<string> {
  const file = join(data.path, "owner");
  const remembered = read(file);
  if (asked === undefined && remembered !== undefined) return remembered;
  const chosen = asked === undefined ? await ownerFromGit() : await checkOwner(asked);
  if (remembered === undefined) writeFileSync(file, `${chosen}\n`, { mode: 0o600 });
  return chosen;
}

async function ownerFromGit(): Promise<string> {
  const name = await run("git", ["config", "user.name"]).then(
    ({ stdout }) => stdout.trim(),
    () => "",
  );
  return (await slugOf(name)) ?? "dev";
}

async function checkOwner(asked: string): Promise<string> {
  const slug = await slugOf(asked);
  if (slug === asked) return slug;
  const hint = slug === undefined ? "" : ` "${slug}" would do.`;
  throw new KnownError(
    "usage",
    `--owner must be 1 to 63 of a-z, 0-9 and -, and no reserved word; "${asked}" is not.${hint}`,
  );
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
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw new KnownError("data-unusable", `${file} cannot be read: ${reason(error)}`, { cause: error });
  }
}

function reason(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : String(error);
}
