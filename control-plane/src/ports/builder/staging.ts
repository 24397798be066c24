import { constants, existsSync, readdirSync, readFileSync } from "node:fs";
import { copyFile, lstat, mkdir, readdir, readlink, symlink } from "node:fs/promises";
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
        throw refuse(`${path} is a link to ${target}, outside of the handler's folder`);
      await symlink(target, join(to, path));
    } else if (entry.isFile()) {
      await copyFile(join(from, path), join(to, path), constants.COPYFILE_FICLONE);
    } else {
      throw refuse(`${path} is neither a file, a folder nor a link`);
    }
  }
}

function staysInside(link: string, target: string): boolean {
  if (target.startsWith("/")) return false;
  const resolved = posix.join(dirname(link), target);
  return resolved !== ".." && !resolved.startsWith("../");
}

/** The staged folder as templates look at it. */
export function viewStaged(folder: string): StagedHandler {
  return {
    exists: (path) => existsSync(join(folder, path)),
    read: (path) => (existsSync(join(folder, path)) ? readFileSync(join(folder, path), "utf8") : undefined),
    hasFile: (ending) => hasFile(folder, ending),
  };
}

function hasFile(folder: string, ending: string): boolean {
  const skipped = new Set(["vendor", "node_modules"]);
  return readdirSync(folder, { withFileTypes: true }).some((entry) =>
    entry.isDirectory()
      ? !skipped.has(entry.name) && hasFile(join(folder, entry.name), ending)
      : entry.name.endsWith(ending),
  );
}
