import { createHash, type Hash, randomUUID } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import {
  chmod,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  utimes,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { Artifact } from "../ports/builder/builder.ts";
import { removeTree } from "./remove-tree.ts";

/** What the process runtime must know of an artifact, kept in it as `manifest.json`. */
export const ArtifactManifest = z.object({
  template: z.string(),
  start: z.object({
    program: z.enum(["node", "python", "go"]).optional(),
    heapArgument: z.string().optional(),
    args: z.array(z.string()),
    environment: z.record(z.string(), z.string()),
  }),
});
export type ArtifactManifest = z.infer<typeof ArtifactManifest>;

const STREAM_ABOVE_BYTES = 1024 * 1024;
const REFERENCE = /^[0-9a-f]{64}$/;

/**
 * Artifacts on this machine: `<data>/artifacts/<digest>/` holds `manifest.json` and the runnable tree in `root/`. A folder
 * appears whole or not at all, and nothing in it is written again.
 */
export interface ArtifactStore {
  /** Moves the tree at `root` in. Content that is there already is not replaced. */
  add(root: string, manifest: ArtifactManifest): Promise<Artifact>;
  has(artifact: Artifact): Promise<boolean>;
  rootOf(artifact: Artifact): string;
  readManifest(artifact: Artifact): Promise<ArtifactManifest>;
  /** Removes those whose digest is not in `keep` and that were neither made nor made again in the last `graceMs`. */
  collect(keep: ReadonlySet<string>, graceMs: number): Promise<void>;
}

export function openArtifactStore(dataDir: string): ArtifactStore {
  const folder = join(dataDir, "artifacts");
  const pathOf = ({ reference }: Artifact): string => {
    if (!REFERENCE.test(reference)) throw new Error(`not an artifact of the process builder: ${reference}`);
    return join(folder, reference);
  };
  return {
    add: (root, manifest) => add(folder, root, manifest),
    has: async (artifact) => existsSync(pathOf(artifact)),
    rootOf: (artifact) => join(pathOf(artifact), "root"),
    async readManifest(artifact) {
      return ArtifactManifest.parse(
        JSON.parse(await readFile(join(pathOf(artifact), "manifest.json"), "utf8")),
      );
    },
    collect: (keep, graceMs) => collect(folder, keep, graceMs),
  };
}

async function add(folder: string, root: string, manifest: ArtifactManifest): Promise<Artifact> {
  const text = JSON.stringify(manifest);
  const hash = createHash("sha256").update(text);
  await digestTree(hash, root, "");
  const hex = hash.digest("hex");
  const target = join(folder, hex);
  if (existsSync(target)) {
    const now = new Date();
    await utimes(target, now, now);
  } else {
    await moveIn(folder, target, root, text);
  }
  return { digest: `sha256:${hex}`, reference: hex };
}

async function moveIn(folder: string, target: string, root: string, manifest: string): Promise<void> {
  const staging = join(folder, `.new-${randomUUID()}`);
  await mkdir(staging, { recursive: true });
  try {
    await rename(root, join(staging, "root"));
    await writeFile(join(staging, "manifest.json"), manifest, { mode: 0o444 });
    await rename(staging, target);
  } catch (error) {
    await removeTree(staging);
    // Another build of the same content was first.
    if (!existsSync(target)) throw error;
    return;
  }
  // Only now: a folder that may not be written cannot be moved.
  await chmod(join(target, "root"), 0o555);
  await chmod(target, 0o555);
}

/**
 * Adds a folder's entries to the digest, in the order of their names, and takes write permission from all of them: path,
 * kind with mode, then length and content or a link's target.
 */
async function digestTree(hash: Hash, root: string, at: string): Promise<void> {
  const entries = (await readdir(join(root, at))).toSorted();
  for (const name of entries) {
    const path = at === "" ? name : `${at}/${name}`;
    const full = join(root, path);
    const stat = await lstat(full);
    if (stat.isSymbolicLink()) {
      hash.update(`${path}\0link\0${await readlink(full)}\0`);
    } else if (stat.isDirectory()) {
      await chmod(full, 0o755);
      hash.update(`${path}\0folder\0`);
      await digestTree(hash, root, path);
    } else if (stat.isFile()) {
      const mode = (stat.mode & 0o111) === 0 ? 0o444 : 0o555;
      await chmod(full, mode);
      hash.update(`${path}\0file\0${mode.toString(8)}\0${stat.size}\0`);
      await digestFile(hash, full, stat.size);
    } else {
      // A build may leave a socket or a pipe behind; neither means anything after it.
      await rm(full);
    }
  }
  await chmod(join(root, at), at === "" ? 0o755 : 0o555);
}

async function digestFile(hash: Hash, path: string, size: number): Promise<void> {
  if (size <= STREAM_ABOVE_BYTES) {
    hash.update(await readFile(path));
    return;
  }
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
}

async function collect(folder: string, keep: ReadonlySet<string>, graceMs: number): Promise<void> {
  if (!existsSync(folder)) return;
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const isKept = keep.has(`sha256:${name}`);
    const stat = isKept ? undefined : await lstat(path).catch(() => undefined);
    if (stat !== undefined && Date.now() - stat.mtimeMs >= graceMs) await removeTree(path);
  }
}
