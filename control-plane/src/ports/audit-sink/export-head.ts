import { type FileHandle, mkdir, open, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { Store } from "../store/store.ts";
import type { AuditHead, HeadSigner } from "./head.ts";

const EVERY_MS = 60 * 60_000;
/** A platform that stops waits so long too. */
const TELL_MS = 2_000;

/** Writes the signed end of the chain where who can write to the store can do nothing about it. */
export interface HeadExport extends AsyncDisposable {
  /** Exports the head now; nothing where there is no event since the last one. */
  export(): Promise<void>;
}

/**
 * Exports heads every hour and when it is disposed, one compact JWS a line, to a file that is only ever appended to; beside it,
 * as `<file>.jwk`, the key that verifies them. The file is worth as much as the place where it is: best on another disk or
 * machine, with the key copied from where it was first written.
 */
export async function openHeadExport(options: {
  readonly store: Store;
  readonly file: string;
  readonly signer: HeadSigner;
  /** Where else a head goes. That it does not arrive there is of no consequence: the next one vouches for more. */
  readonly tell?: (head: string, signal: AbortSignal) => Promise<void>;
  readonly everyMs?: number;
  readonly onError: (error: unknown) => void;
}): Promise<HeadExport> {
  const { store, file, signer, tell, everyMs = EVERY_MS, onError } = options;
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await writeKeyOnce(`${file}.jwk`, signer);
  await dropTornLine(file);

  let exported: AuditHead | undefined;
  let turn: Promise<void> = Promise.resolve();

  const exportOnce = async () => {
    if (exported) await requireStillThere(store, exported);
    const tail = await findTail(store);
    if (tail === undefined || tail.event === exported?.event) return;
    const head = { ...tail, at: Date.now() };
    const signed = await signer.sign(head);
    await appendLine(file, signed);
    exported = head;
    await tell?.(signed, AbortSignal.timeout(TELL_MS)).catch(onError);
  };
  const next = () => {
    const result = turn.then(exportOnce);
    turn = result.catch(() => undefined);
    return result;
  };

  const timer = setInterval(() => next().catch(onError), everyMs).unref();
  return {
    export: next,
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await next().catch(onError);
    },
  };
}

/** A key that is replaced later does not take its place: what that one signs is not to be believed by itself. */
async function writeKeyOnce(file: string, { publicKey }: HeadSigner): Promise<void> {
  try {
    await writeFile(file, `${JSON.stringify(publicKey)}\n`, { mode: 0o600, flag: "wx" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

async function findTail(store: Store): Promise<Pick<AuditHead, "event" | "hash"> | undefined> {
  const tail = await store
    .selectFrom("audit_events")
    .select(["id", "hash"])
    .where("hash", "is not", null)
    .orderBy("id", "desc")
    .limit(1)
    .executeTakeFirst();
  return tail === undefined || tail.hash === null ? undefined : { event: tail.id, hash: tail.hash };
}

/** Cheap, and sooner than somebody verifies the chain. */
async function requireStillThere(store: Store, { event, hash }: AuditHead): Promise<void> {
  const row = await store
    .selectFrom("audit_events")
    .select("hash")
    .where("id", "=", event)
    .executeTakeFirst();
  if (row?.hash !== hash) {
    throw new Error(
      `audit event ${event}, whose hash was exported, was replaced or is gone: verify the audit trail`,
    );
  }
}

async function appendLine(file: string, line: string): Promise<void> {
  await using handle = await open(file, "a", 0o600);
  await handle.appendFile(`${line}\n`);
  await handle.datasync();
}

/** What a power failure left of a line that was being written; nobody was told of that head. */
async function dropTornLine(file: string): Promise<void> {
  await using handle = await open(file, "a+", 0o600);
  const { size } = await handle.stat();
  const whole = await lengthOfWholeLines(handle, size);
  if (whole < size) await handle.truncate(whole);
}

/** A line is far shorter than what is looked at. */
async function lengthOfWholeLines(handle: FileHandle, size: number): Promise<number> {
  const from = Math.max(0, size - 4096);
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(size - from), 0, size - from, from);
  const end = buffer.subarray(0, bytesRead).lastIndexOf("\n");
  return end === -1 ? from : from + end + 1;
}
