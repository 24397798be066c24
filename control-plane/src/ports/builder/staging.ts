import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
} from "node:fs";
import { copyFile, lstat, mkdir, readdir, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join, posix } from "node:path";
import { Rejected } from "../../rejected.ts";
import type { StagedHandler } from "../../templates/template.ts";

/**
 * Copies a handler's folder out of a checkout. No link is followed on the way: those that stay inside the folder are copied
 * as links, any other refuses the build, as it would take a file of this machine for the author's.
 */
export async function stageHandler(from: {
  readonly sourceDir: string;
  readonly handler: string;
  readonly functionName: string;
  readonly to: string;
}): Promise<void> {
  const refuse = (problem: string) =>
    new Rejected("handler-invalid", `function ${from.functionName}: ${problem}`);
  const parts = from.handler.split("/").filter((part) => part !== "");
  let path = from.sourceDir;
  for (const part of parts) {
    path = join(path, part);
    const stat = await lstat(path).catch(() => undefined);
    if (part === ".." || !stat?.isDirectory()) {
      throw refuse(`its handler, ./${parts.join("/")}, is not a folder of the repository`);
    }
  }
  await mkdir(from.to, { recursive: true });
  await copyFolder(path, from.to, "", refuse);
}

async function copyFolder(
  from: string,
  to: string,
  at: string,
  refuse: (problem: string) => Rejected,
): Promise<void> {
  for (const entry of await readdir(join(from, at), { withFileTypes: true })) {
    if (entry.name === ".git") continue;
    const path = posix.join(at, entry.name);
    if (entry.isDirectory()) {
      await mkdir(join(to, path));
      await copyFolder(from, to, path, refuse);
    } else if (entry.isSymbolicLink()) {
      const target = await readlink(join(from, path));
      if (!staysInside(path, target))
        throw refuse(`${path} is a link to ${target}, which is or may be outside of the handler's folder`);
      await symlink(target, join(to, path));
    } else if (entry.isFile()) {
      await copyFile(join(from, path), join(to, path), constants.COPYFILE_FICLONE);
    } else {
      throw refuse(`${path} is neither a file, a folder nor a link`);
    }
  }
}

/**
 * A way through `..` after another link can end elsewhere than it reads, so `..` may stand only at the beginning: there it
 * starts from the link's own folder, which is a real one.
 */
function staysInside(link: string, target: string): boolean {
  if (target.startsWith("/")) return false;
  const inside = target.replace(/^(\.\.?\/+)*(\.\.?$)?/, "");
  if (inside.split("/").includes("..")) return false;
  const resolved = posix.join(dirname(link), target);
  return resolved !== ".." && !resolved.startsWith("../");
}

/** The most that a file which a template looks into may hold. */
const MAX_READ_BYTES = 4 * 1024 * 1024;

/** The staged folder as templates look at it. Files that the platform reads itself may not be links, not even dangling ones. */
export function viewStaged(folder: string, functionName: string): StagedHandler {
  return {
    exists: (path) => existsSync(join(folder, path)),
    read: (path) => readPlain(join(folder, path), `function ${functionName}: ${path}`),
    hasFile: (ending) => hasFile(folder, ending),
  };
}

function readPlain(file: string, name: string): string | undefined {
  const stat = lstatSync(file, { throwIfNoEntry: false });
  if (stat === undefined) return undefined;
  if (!stat.isFile()) throw new Rejected("handler-invalid", `${name} must be a file, and no link`);
  const fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    if (fstatSync(fd).size > MAX_READ_BYTES)
      throw new Rejected("handler-invalid", `${name} is larger than ${MAX_READ_BYTES / 1024 / 1024} MiB`);
    return readFileSync(fd, "utf8");
  } finally {
    closeSync(fd);
  }
}

/**
 * Puts a file of the platform's own among the staged ones, in the place of whatever has its name. No link is followed: a
 * folder on the way that is none refuses the build.
 */
export async function placeFile(
  root: string,
  path: string,
  content: string | Uint8Array,
  functionName: string,
): Promise<void> {
  const to = join(root, path);
  if (!(await makeRealFolder(root, dirname(path)))) {
    const problem = `${dirname(path)} is reserved to the platform, which needs a folder there`;
    throw new Rejected("handler-invalid", `function ${functionName}: ${problem}`);
  }
  await rm(to, { recursive: true, force: true });
  const flag = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  await writeFile(to, content, { flag });
}

/** Makes the folders that are missing; whether all of them are folders and none is a link. */
async function makeRealFolder(root: string, path: string): Promise<boolean> {
  let at = root;
  for (const part of path.split("/").filter((each) => each !== ".")) {
    at = join(at, part);
    const stat = await lstat(at).catch(() => undefined);
    if (stat === undefined) await mkdir(at);
    else if (!stat.isDirectory()) return false;
  }
  return true;
}

/** Whether there is something at `path` that no link leads to. What it is itself is not asked. */
export async function isReallyIn(root: string, path: string): Promise<boolean> {
  const parts = path.split("/");
  for (let count = 1; count <= parts.length; count++) {
    const stat = await lstat(join(root, ...parts.slice(0, count))).catch(() => undefined);
    if (stat === undefined || (count < parts.length && !stat.isDirectory())) return false;
  }
  return true;
}

function hasFile(folder: string, ending: string): boolean {
  const skipped = new Set(["vendor", "node_modules"]);
  return readdirSync(folder, { withFileTypes: true }).some((entry) =>
    entry.isDirectory()
      ? !skipped.has(entry.name) && hasFile(join(folder, entry.name), ending)
      : entry.name.endsWith(ending),
  );
}
