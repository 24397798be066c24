import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
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
 * hence the modes), the secrets as files, and per replica a record and a spool. Each file is replaced whole.
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
      writeFileSync(join(this.secretsFolder, name), content, { mode: 0o600 });
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

  readReplica(replica: number): StoredReplica | undefined {
    const file = join(this.folder, `${replica}.json`);
    return existsSync(file) ? StoredReplica.parse(JSON.parse(readFileSync(file, "utf8"))) : undefined;
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
    writeFileSync(`${file}.new`, JSON.stringify(content), { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }
}

/** Every revision that was not being stopped. What else lies there, a stop or a creation that was cut short, is removed. */
export function readRevisions(runtimeDir: string): RevisionSpec[] {
  mkdirSync(runtimeDir, { recursive: true, mode: 0o700 });
  return readdirSync(runtimeDir).flatMap((name) => {
    const file = join(runtimeDir, name, "revision.json");
    if (existsSync(file)) return StoredSpec.parse(JSON.parse(readFileSync(file, "utf8")));
    rmSync(join(runtimeDir, name), { recursive: true, force: true });
    return [];
  });
}
