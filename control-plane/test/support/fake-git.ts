import { mkdir, rm } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import type { BranchName, CommitSha } from "@openfaas-cloud/shared/names.ts";
import { type TemporaryFolder, temporaryFolder } from "../../../test/support/temporary-folder.ts";
import { gitEnvironment } from "../../src/git-command.ts";
import { type GitBackend, serveByGit } from "../../src/ports/source-host/git-http-backend.ts";
import { runGit } from "./git-client.ts";

export interface GitAccess {
  readonly username: string;
  readonly password: string;
}

/** A request for a repository that was let in and now waits. */
export interface HeldGit {
  /** With which credential it came; `undefined` where it came without. */
  readonly arrived: Promise<GitAccess | undefined>;
  release(): void;
}

/** What `GET /<repository>/info/refs?service=git-upload-pack` and `POST /<repository>/git-upload-pack` have in common. */
const SERVICE_PATH = /^(?<repository>.+?)(?:\.git)?\/(?<service>info\/refs|git-upload-pack)$/;

/** Real git repositories for a fake of a source host, served over HTTP for reading by `git http-backend`. */
export class FakeGit implements AsyncDisposable {
  readonly #folder: TemporaryFolder;
  readonly #program: string;
  readonly #backends = new Set<GitBackend>();
  /** What was pushed last, by repository and branch. */
  readonly #tips = new Map<string, Map<string, CommitSha>>();
  #held: { arrive(access: GitAccess | undefined): void; readonly released: Promise<void> } | undefined;

  private constructor(folder: TemporaryFolder, program: string) {
    this.#folder = folder;
    this.#program = program;
  }

  static async open(): Promise<FakeGit> {
    const folder = await temporaryFolder();
    await mkdir(join(folder.path, "bare"));
    return new FakeGit(folder, join(await runGit(folder.path, ["--exec-path"]), "git-http-backend"));
  }

  /** An empty repository. @param id the host's own; one part of a path. */
  async create(id: string): Promise<void> {
    await runGit(this.#folder.path, ["init", "--quiet", "--bare", this.bareDir(id)]);
  }

  /** Commits files on top of a branch, which is made of `main` where it is new, as somebody who pushed would have. */
  async push(
    id: string,
    files: Readonly<Record<string, string>>,
    { branch = "main", message = "a change" } = {},
  ): Promise<CommitSha> {
    const tips = this.#tips.get(id) ?? new Map<string, CommitSha>();
    const parent = tips.get(branch) ?? tips.get("main");
    const input = fastImport({ branch, message, parent, files });
    // Many commits are made in a test run: one process for each instead of a handful.
    const commit = await runGit(this.bareDir(id), ["--git-dir=.", "fast-import", "--quiet", "--force"], {
      input,
    });
    this.#tips.set(id, tips.set(branch, commit as CommitSha));
    return commit as CommitSha;
  }

  async deleteBranch(id: string, branch: string): Promise<void> {
    await runGit(this.bareDir(id), ["--git-dir=.", "update-ref", "-d", `refs/heads/${branch}`]);
  }

  /** What a branch's newest commit says of itself; `undefined` where there is no such branch. */
  async head(
    id: string,
    branch: BranchName | string,
  ): Promise<
    { commit: CommitSha; tree: string; message: string; author: string; email: string } | undefined
  > {
    const line = await runGit(this.bareDir(id), [
      "--git-dir=.",
      "for-each-ref",
      "--format=%(objectname)%00%(tree)%00%(authorname)%00%(authoremail:trim)%00%(contents:subject)",
      `refs/heads/${branch}`,
    ]);
    const [commit = "", tree = "", author = "", email = "", message = ""] = line.split("\0");
    return commit === "" ? undefined : { commit: commit as CommitSha, tree, message, author, email };
  }

  async remove(id: string): Promise<void> {
    await rm(this.bareDir(id), { recursive: true });
  }

  bareDir(id: string): string {
    return join(this.#folder.path, "bare", `${id}.git`);
  }

  /** The next request that is let in waits until it is released, so that one can look at who asks. */
  hold(): HeldGit {
    const arrived = Promise.withResolvers<GitAccess | undefined>();
    const released = Promise.withResolvers<void>();
    this.#held = { arrive: arrived.resolve, released: released.promise };
    return { arrived: arrived.promise, release: released.resolve };
  }

  /**
   * Answers a request for a repository. @returns false where it is none, and nothing was answered.
   * @param admit from the path below `/`, without `.git`, to the id it names; `refused` asks for (other) credentials.
   */
  serve(
    request: IncomingMessage,
    response: ServerResponse,
    admit: (path: string, access: GitAccess | undefined) => { readonly id: string } | "refused" | "absent",
  ): boolean {
    const { pathname, search } = new URL(request.url ?? "/", "http://fake");
    const { repository, service } = SERVICE_PATH.exec(pathname.slice(1))?.groups ?? {};
    if (repository === undefined || service === undefined) return false;
    const access = accessOf(request);
    const admitted = admit(repository, access);
    if (admitted === "refused") {
      response.writeHead(401, { "www-authenticate": 'Basic realm="Fake"' }).end("Authentication failed\n");
    } else if (admitted === "absent") {
      response.writeHead(404).end("Repository not found.\n");
    } else {
      void this.#answer(request, response, { ...admitted, service, query: search.slice(1), access });
    }
    return true;
  }

  async #answer(
    request: IncomingMessage,
    response: ServerResponse,
    asked: { id: string; service: string; query: string; access: GitAccess | undefined },
  ): Promise<void> {
    const held = this.#held;
    this.#held = undefined;
    held?.arrive(asked.access);
    await held?.released;
    const backend = serveByGit(
      request,
      response,
      {
        program: this.#program,
        env: gitEnvironment(),
        root: join(this.#folder.path, "bare"),
        path: `/${asked.id}.git/${asked.service}`,
        query: asked.query,
        remoteUser: asked.access?.username ?? "",
        withHooks: false,
      },
      (it) => it.kill(),
    );
    this.#backends.add(backend);
    await backend.ended;
    this.#backends.delete(backend);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const backend of this.#backends) backend.kill();
    await Promise.all([...this.#backends].map(({ ended }) => ended));
    await this.#folder[Symbol.asyncDispose]();
  }
}

/** A commit in the words of git-fast-import(1), which prints its id. */
function fastImport(made: {
  readonly branch: string;
  readonly message: string;
  readonly parent: CommitSha | undefined;
  readonly files: Readonly<Record<string, string>>;
}): string {
  const data = (text: string) => `data ${Buffer.byteLength(text)}\n${text}\n`;
  return [
    `commit refs/heads/${made.branch}\nmark :1\n`,
    `committer Alice <alice@example.test> ${Math.floor(Date.now() / 1000)} +0000\n`,
    data(made.message),
    made.parent === undefined ? "" : `from ${made.parent}\n`,
    ...Object.entries(made.files).map(([path, content]) => `M 100644 inline ${path}\n${data(content)}`),
    "\nget-mark :1\n",
  ].join("");
}

/** HTTP Basic (RFC 7617). */
function accessOf(request: IncomingMessage): GitAccess | undefined {
  const [scheme, encoded = ""] = (request.headers.authorization ?? "").split(" ");
  if (scheme?.toLowerCase() !== "basic") return undefined;
  const decoded = Buffer.from(encoded, "base64").toString();
  const colon = decoded.indexOf(":");
  return { username: decoded.slice(0, colon), password: decoded.slice(colon + 1) };
}
