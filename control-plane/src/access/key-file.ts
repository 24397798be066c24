import { randomBytes } from "node:crypto";
import { link, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";

/** What the file holds; `make` writes it first where it is absent. Readable by its owner only, and never half-written. */
export async function ensureKeyFile(file: string, make: () => Promise<Buffer> | Buffer): Promise<Buffer> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  try {
    return await readFile(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  const fresh = `${file}.${randomBytes(6).toString("hex")}`;
  await writeFile(fresh, await make(), { mode: 0o600, flush: true });
  try {
    // A link does not replace: whoever was first keeps its key.
    await link(fresh, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    await rm(fresh);
  }
  return readFile(file);
}

/** Puts this in the file's place, whole or not at all; durable when it resolves. Readable by its owner only. */
export async function replaceKeyFile(file: string, content: Buffer): Promise<void> {
  const fresh = `${file}.${randomBytes(6).toString("hex")}`;
  try {
    await writeFile(fresh, content, { mode: 0o600, flush: true });
    await rename(fresh, file);
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  }
}
