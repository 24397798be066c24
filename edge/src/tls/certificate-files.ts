import { readdir, readFile, stat } from "node:fs/promises";
import { join, posix } from "node:path";
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
  /** The one right below the directory that it lies in; empty where it lies in the directory itself. */
  readonly folder: string;
  readonly chainPath: string;
  readonly keyPath: string;
  /** Differs whenever one of the files may have changed, also where a link now leads to another file. */
  readonly stamp: string;
}

export interface Found {
  /** Sorted by name. */
  readonly pairs: readonly Pair[];
  /** What is right below the directory and cannot be looked into, so that nobody knows what is in it. */
  readonly unread: readonly UnreadFolder[];
}

export interface UnreadFolder {
  readonly folder: string;
  /** The operating system's word for it, such as `EACCES`. */
  readonly code: string;
}

/**
 * Every key in the directory and in the directories right below it, with the certificate that lies beside it: `<x>.key` and
 * `<x>.crt`, among them `tls.key` and `tls.crt` as Kubernetes mounts them, and `privkey.pem` and `fullchain.pem` as certbot
 * writes them. A certificate without a key is somebody else's, a CA's for instance. What begins with a dot is passed over:
 * Kubernetes keeps the generations there that its links lead to.
 * @throws where the directory itself cannot be read
 */
export async function findPairs(directory: string): Promise<Found> {
  const { keys, unread } = await keysBelow(directory);
  const pairs: Pair[] = [];
  for (let i = 0; i < keys.length; i += LOOKS_AT_ONCE) {
    const batch = keys.slice(i, i + LOOKS_AT_ONCE).map((key) => lookAt(directory, key));
    pairs.push(...(await Promise.all(batch)));
  }
  return { pairs: pairs.toSorted(byName), unread };
}

export function byName(one: { readonly name: string }, other: { readonly name: string }): number {
  return Number(one.name > other.name) - Number(one.name < other.name);
}

/** @throws KnownError `certificate-unusable` */
export async function readPair({ name, chainPath, keyPath }: Pair): Promise<Certificate> {
  return parseCertificate(name, await readText("certificate", chainPath), await readText("key", keyPath));
}

interface Key {
  readonly folder: string;
  readonly file: string;
}

async function keysBelow(directory: string): Promise<{ keys: Key[]; unread: UnreadFolder[] }> {
  const keys: Key[] = [];
  const unread: UnreadFolder[] = [];
  for (const entry of (await readdir(directory, { withFileTypes: true })).toSorted(byName)) {
    if (entry.name.startsWith(".")) continue;
    if (isKey(entry.name)) keys.push({ folder: "", file: entry.name });
    else if (entry.isDirectory() || entry.isSymbolicLink()) {
      const folder = entry.name;
      const names = await namesIn(join(directory, folder));
      if (typeof names === "string") unread.push({ folder, code: names });
      else keys.push(...names.filter(isKey).map((file) => ({ folder, file })));
    }
  }
  return { keys, unread };
}

/** None where it is no directory, or is gone meanwhile; else the word for what keeps us from looking, which is no emptiness. */
async function namesIn(directory: string): Promise<string[] | string> {
  try {
    return await readdir(directory);
  } catch (error) {
    const code = codeOf(error);
    return ["ENOTDIR", "ENOENT"].includes(code) ? [] : code;
  }
}

function isKey(name: string): boolean {
  return name === "privkey.pem" || (name.endsWith(".key") && !name.startsWith("."));
}

async function lookAt(directory: string, { folder, file }: Key): Promise<Pair> {
  const isCertbots = file === "privkey.pem";
  const stem = file.replace(/\.key$/, "");
  const keyPath = join(directory, folder, file);
  const chainPath = join(directory, folder, isCertbots ? "fullchain.pem" : `${stem}.crt`);
  return {
    name: isCertbots ? folder || "privkey" : posix.join(folder, stem),
    folder,
    keyPath,
    chainPath,
    stamp: `${await stampOf(chainPath)} ${await stampOf(keyPath)}`,
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
    // One that is a pipe would be read for ever.
    if (!found.isFile()) throw new Error("not a file");
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
