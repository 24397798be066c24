import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type EmbeddedLimits,
  type EmbeddedSourceHost,
  openEmbeddedSourceHost,
} from "../../src/ports/source-host/embedded.ts";
import { runGit } from "./git-client.ts";
import { MemoryPushGate } from "./push-gate.ts";

export interface HostResource extends AsyncDisposable {
  readonly host: EmbeddedSourceHost;
  readonly gate: MemoryPushGate;
  readonly dataDir: string;
  readonly port: number;
  readonly errors: unknown[];
  /** Clone address with a person's token in it. */
  url(path: string, token?: string): string;
  /** A new folder for a person's work. */
  folder(): Promise<string>;
  /** A new repository with `origin` set. */
  workTree(path?: string): Promise<string>;
  /** The commit a ref of a bare repository names, or the empty string. */
  ref(repositoryId: string, name: string): Promise<string>;
}

/** The embedded source host behind a plain HTTP server, in a data folder of its own. */
export async function startEmbeddedHost(
  options: { readonly limits?: Partial<EmbeddedLimits>; readonly gate?: MemoryPushGate } = {},
): Promise<HostResource> {
  const temporary = await mkdtemp(join(tmpdir(), "embedded-git-"));
  const dataDir = join(temporary, "data");
  const gate = options.gate ?? new MemoryPushGate();
  const errors: unknown[] = [];
  const host = await openEmbeddedSourceHost({
    dataDir,
    gate,
    onError: (error) => errors.push(error),
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  });
  const server = createServer((request, response) => void host.handle(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const folder = () => mkdtemp(join(temporary, "work-"));
  const url = (path: string, token = "token-of-alice") => `http://git:${token}@127.0.0.1:${port}/git/${path}`;
  return {
    host,
    gate,
    dataDir,
    port,
    errors,
    url,
    folder,
    async workTree(path = "alice/hello.git") {
      const work = await folder();
      await runGit(work, ["init", "--quiet"]);
      await runGit(work, ["remote", "add", "origin", url(path)]);
      return work;
    },
    async ref(repositoryId, name) {
      const gitDir = join(dataDir, "git", `${repositoryId}.git`);
      return runGit(gitDir, ["--git-dir=.", "for-each-ref", "--format=%(objectname)", name]);
    },
    async [Symbol.asyncDispose]() {
      await host[Symbol.asyncDispose]();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await rm(temporary, { recursive: true, force: true });
    },
  };
}
