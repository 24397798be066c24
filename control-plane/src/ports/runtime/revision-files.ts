import { createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { FunctionName, OwnerSlug } from "@openfaas-cloud/shared/names.ts";
import { z } from "zod";
import type { RevisionSpec } from "./runtime.ts";

const StoredSpec: z.ZodType<RevisionSpec> = z.object({
  revisionId: z.string(),
  functionId: z.string(),
  ownerId: z.string(),
  owner: OwnerSlug,
  function: FunctionName,
  artifact: z.object({ digest: z.string(), reference: z.string() }),
  environment: z.record(z.string(), z.string()),
  secrets: z.record(z.string(), z.string()),
  memoryLimitBytes: z.number(),
  replicas: z.number(),
  healthPath: z.string(),
  healthInitialDelayMs: z.number(),
});

const StoredReplica = z.object({
  port: z.int().positive(),
  restarts: z.int().nonnegative(),
  /** Absent while nothing of it runs. */
  process: z
    .object({
      id: z.string(),
      kind: z.literal("function"),
      outer: z.object({ pid: z.int(), startedAt: z.string() }),
      statusFile: z.string(),
      cgroup: z.array(z.string()),
      memoryBytes: z.number(),
      processes: z.number(),
    })
    .optional(),
  /** Whether the process was seen healthy. */
  ready: z.boolean(),
  /** Whether any process of the replica ever was: from then on others know its port. */
  wasReady: z.boolean(),
});
export type StoredReplica = z.infer<typeof StoredReplica>;

/**
 * What the runtime keeps of one revision: `<data>/runtime/<hash of its id>/` with `revision.json` (which holds the secrets,
 * hence the modes), the secrets as files, and per replica a record and a spool. Each record is replaced whole.
 */
export class RevisionFiles {
  readonly folder: string;

  constructor(runtimeDir: string, revisionId: string) {
    const name = createHash("sha256").update(revisionId).digest("hex").slice(0, 32);
    this.folder = join(runtimeDir, name);
  }

  get secretsFolder(): string {
    return join(this.folder, "secrets");
  }

  create(spec: RevisionSpec): void {
    mkdirSync(this.secretsFolder, { recursive: true, mode: 0o700 });
    for (const [name, content] of Object.entries(spec.secrets)) {
      if (!/^[A-Za-z0-9_-][A-Za-z0-9._-]*$/.test(name)) throw new Error(`not a name of a secret: ${name}`);
      writeDurably(join(this.secretsFolder, name), content);
    }
    this.#replace("revision.json", spec);
  }

  spoolOf(replica: number): string {
    return join(this.folder, `${replica}.spool`);
  }

  statusOf(replica: number): string {
    return join(this.folder, `${replica}.status`);
  }

  writeReplica(replica: number, stored: StoredReplica): void {
    this.#replace(`${replica}.json`, stored);
  }

  /** @throws where there is a record that cannot be read. */
  readReplica(replica: number): StoredReplica | undefined {
    const file = join(this.folder, `${replica}.json`);
    return existsSync(file) ? StoredReplica.parse(JSON.parse(readFileSync(file, "utf8"))) : undefined;
  }

  forgetReplica(replica: number): void {
    rmSync(join(this.folder, `${replica}.json`), { force: true });
  }

  /** From here on the revision is not started again, whatever happens to the platform. */
  markStopping(): void {
    rmSync(join(this.folder, "revision.json"), { force: true });
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  #replace(name: string, content: unknown): void {
    const file = join(this.folder, name);
    writeDurably(`${file}.new`, JSON.stringify(content));
    renameSync(`${file}.new`, file);
  }
}

/** On the disk before it returns: a file that is renamed before its content is written is empty after a power failure. */
function writeDurably(file: string, content: string): void {
  const fd = openSync(file, "w", 0o600);
  try {
    writeFileSync(fd, content);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Every revision that was not being stopped. What else lies there, a stop or a creation that was cut short, is removed, and
 * so is a revision whose record cannot be read; `onUnreadable` is told of it.
 */
export function readRevisions(runtimeDir: string, onUnreadable: (error: Error) => void): RevisionSpec[] {
  mkdirSync(runtimeDir, { recursive: true, mode: 0o700 });
  return readdirSync(runtimeDir).flatMap((name) => {
    const folder = join(runtimeDir, name);
    try {
      const file = join(folder, "revision.json");
      if (existsSync(file)) return StoredSpec.parse(JSON.parse(readFileSync(file, "utf8")));
    } catch (cause) {
      onUnreadable(
        new Error(`the record of a revision in ${folder} cannot be read and is removed`, { cause }),
      );
    }
    rmSync(folder, { recursive: true, force: true });
    return [];
  });
}
