import { readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { errorMessage, KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { type Certificate, parseCertificate } from "./certificate.ts";

/** Longer than any chain or key. */
const MAX_FILE_BYTES = 256 * 1024;
/** Enough to keep the thread pool busy, and no more. */
const LOOKS_AT_ONCE = 16;

/** A certificate and its key on the disk, found and not yet read. */
export interface Pair {
  /** Its path below the directory without the ending: `shop`, or `shop/tls`. */
  readonly name: string;
  readonly chainPath: string;
  readonly keyPath: string;
  /** Differs whenever one of the files may have changed, also where a link now leads to another file. */
  readonly stamp: string;
}

/**
 * Every key in the directory and in the directories right below it, with the certificate that lies beside it: `<x>.key` and
 * `<x>.crt`, among them `tls.key` and `tls.crt` as Kubernetes mounts them, and `privkey.pem` and `fullchain.pem` as certbot
 * writes them. A certificate without a key is somebody else's, a CA's for instance. What begins with a dot is passed over:
 * Kubernetes keeps the generations there that its links lead to.
 * @returns sorted by name
 */
export async function findPairs(directory: string): Promise<Pair[]> {
  const keys = (await keysBelow(directory)).toSorted();
  const pairs: Pair[] = [];
  for (let i = 0; i < keys.length; i += LOOKS_AT_ONCE) {
    const batch = keys.slice(i, i + LOOKS_AT_ONCE).map((key) => lookAt(directory, key));
    pairs.push(...(await Promise.all(batch)));
  }
  return pairs;
}

/** @throws KnownError `certificate-unusable` */
export async function readPair({ name, chainPath, keyPath }: Pair): Promise<Certificate> {
  return parseCertificate(name, await readText("certificate", chainPath), await readText("key", keyPath));
}

/** Paths of all keys, relative to the directory. */
async function keysBelow(directory: string): Promise<string[]> {
  const keys: string[] = [];
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    if (entry.name.startsWith(".")) continue;
    if (isKey(entry.name)) keys.push(entry.name);
    else if (entry.isDirectory() || entry.isSymbolicLink()) {
      const names = await namesIn(join(directory, entry.name));
      keys.push(...names.filter(isKey).map((name) => `${entry.name}/${name}`));
    }
  }
  return keys;
}

/** None where it is no directory, or is gone meanwhile. Whatever else keeps us from looking must not pass for emptiness. */
async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (["ENOTDIR", "ENOENT"].includes(codeOf(error))) return [];
    throw error;
  }
}

function isKey(name: string): boolean {
  return name === "privkey.pem" || (name.endsWith(".key") && !name.startsWith("."));
}

async function lookAt(directory: string, key: string): Promise<Pair> {
  const keyPath = join(directory, key);
  const isCertbots = basename(key) === "privkey.pem";
  const chainPath = isCertbots ? join(dirname(keyPath), "fullchain.pem") : keyPath.replace(/\.key$/, ".crt");
  const stamp = `${await stampOf(chainPath)} ${await stampOf(keyPath)}`;
  return {
    name: key.replace(isCertbots ? /\/?privkey\.pem$/ : /\.key$/, "") || "privkey",
    keyPath,
    chainPath,
    stamp,
  };
}

async function stampOf(path: string): Promise<string> {
  try {
    const { ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return `${ino}:${size}:${mtimeNs}:${ctimeNs}`;
  } catch (error) {
    return codeOf(error);
  }
}

async function readText(what: string, path: string): Promise<string> {
  try {
    const found = await stat(path);
    if (found.size > MAX_FILE_BYTES) throw new Error(`larger than ${MAX_FILE_BYTES / 1024} KiB`);
    return await readFile(path, "utf8");
  } catch (error) {
    const reason = `The ${what} cannot be read: ${codeOf(error)}`;
    throw new KnownError("certificate-unusable", reason, { cause: error });
  }
}

/** The operating system's word for it; its sentence would hold a path. */
function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? errorMessage(error);
}
