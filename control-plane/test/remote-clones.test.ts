import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { createServer, type RequestListener, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { Secret } from "@openfaas-cloud/shared/env.ts";
import { type CommitSha, OwnerSlug, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import { describe, expect, test } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import { part } from "../../test/support/parts.ts";
import { descendantsOf } from "../../test/support/process-tree.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { HostUnavailable } from "../src/ports/source-host/host-errors.ts";
import { type CloneCredential, RemoteClones } from "../src/ports/source-host/remote-clones.ts";
import type { RepositoryRef } from "../src/ports/source-host/source-host.ts";
import { selfSignedCertificate } from "./support/certificate.ts";
import { FakeGit, type GitAccess } from "./support/fake-git.ts";
import { runGit } from "./support/git-client.ts";

const CREDENTIAL: CloneCredential = { username: "x-access-token", password: new Secret("the-password") };
const REPOSITORY: RepositoryRef = {
  repositoryId: "repository-1",
  owner: OwnerSlug.parse("acme"),
  name: RepositoryName.parse("site"),
  host: "host.test",
  source: { id: "1", installation: undefined },
};

interface Setup extends AsyncDisposable {
  readonly git: FakeGit;
  readonly clones: RemoteClones;
  readonly root: string;
  readonly url: string;
  readonly asked: (GitAccess | undefined)[];
  fetch(commit: CommitSha, options?: FetchOptions): Promise<{ readonly gitDir: string }>;
}

interface FetchOptions {
  readonly url?: string;
  readonly credential?: CloneCredential | undefined;
  readonly signal?: AbortSignal;
}

/** A git server with the repository `1`, open to all or to the credential only. */
async function start(
  options: {
    readonly isPrivate?: boolean;
    readonly limits?: { readonly fetchMs?: number; readonly maxPackBytes?: number };
    readonly instead?: RequestListener;
  } = {},
): Promise<Setup> {
  await using opened = new AsyncDisposableStack();
  const folder = opened.use(await temporaryFolder());
  const git = opened.use(await FakeGit.open());
  await git.create("1");
  const asked: (GitAccess | undefined)[] = [];
  const server = createServer((request, response) => {
    if (options.instead !== undefined) return options.instead(request, response);
    git.serve(request, response, (id, access) => {
      asked.push(access);
      const isAllowed = options.isPrivate !== true || access?.password === CREDENTIAL.password.reveal();
      return isAllowed ? { id } : "refused";
    });
  });
  const url = `${await listen(server)}/1.git`;
  opened.defer(() => close(server));
  const root = join(folder.path, "clones");
  const { limits = {} } = options;
  const clones = await RemoteClones.open({ root, title: "The host", limits });
  const owned = opened.move();
  return {
    git,
    clones,
    root,
    url,
    asked,
    fetch: (commit, { url: from = url, credential, signal = new AbortController().signal } = {}) =>
      clones.fetch(REPOSITORY, commit, async () => ({ url: from, credential }), signal),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function listen(server: Server, scheme = "http"): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function close(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}

const gitProcesses = () => descendantsOf(process.pid).length;
const unfinished = async (gitDir: string) =>
  (await readdir(join(gitDir, "objects", "pack"))).filter((name) => name.startsWith("tmp_"));

describe("a local copy of a remote repository", () => {
  test("holds the commits that were asked for, one deep, and asks for each once", async () => {
    await using it = await start();
    const first = await it.git.push("1", { "a.txt": "one" });
    const second = await it.git.push("1", { "a.txt": "two" });
    const { gitDir } = await it.fetch(second);
    expect(await runGit(gitDir, ["--git-dir=.", "show", `${second}:a.txt`])).toBe("two");
    expect(await runGit(gitDir, ["--git-dir=.", "rev-list", "--all"])).toBe(second);
    const before = it.asked.length;
    await it.fetch(second);
    expect(it.asked.length).toBe(before);
    await it.fetch(first);
    expect(await runGit(gitDir, ["--git-dir=.", "show", `${first}:a.txt`])).toBe("one");
  });

  test("holds a commit whose branch has moved on or is gone", async () => {
    await using it = await start();
    const commit = await it.git.push("1", { "a.txt": "one" }, { branch: "feature" });
    await it.git.push("1", { "a.txt": "two" });
    await it.git.deleteBranch("1", "feature");
    const { gitDir } = await it.fetch(commit);
    expect(await runGit(gitDir, ["--git-dir=.", "cat-file", "-t", commit])).toBe("commit");
  });

  test("is asked for by many at once without harm", async () => {
    await using it = await start();
    const commit = await it.git.push("1", { "a.txt": "one" });
    await Promise.all(Array.from({ length: 5 }, () => it.fetch(commit)));
    expect(it.asked.length).toBeLessThanOrEqual(3);
  });

  test("lets go of what nobody asks for any more, and fetches it again where somebody does", async () => {
    await using it = await start();
    const commit = await it.git.push("1", { "a.txt": "one" });
    const { gitDir } = await it.fetch(commit);
    const refs = () => runGit(gitDir, ["--git-dir=.", "for-each-ref", "--format=%(objectname)"]);
    await it.clones.tidy(REPOSITORY, async () => new Set([commit]), new AbortController().signal);
    expect(await refs()).toBe(commit);
    await it.clones.tidy(REPOSITORY, async () => new Set(), new AbortController().signal);
    expect(await refs()).toBe("");
    await it.fetch(commit);
    expect(await refs()).toBe(commit);
    await it.clones.remove(REPOSITORY.repositoryId);
    await it.fetch(commit);
    expect(await refs()).toBe(commit);
  });

  test("sends the credential to whoever asks for one, and only then", async () => {
    await using open = await start();
    await open.fetch(await open.git.push("1", { "a.txt": "one" }), { credential: CREDENTIAL });
    expect(open.asked.every((access) => access === undefined)).toBe(true);
    await using closed = await start({ isPrivate: true });
    await closed.fetch(await closed.git.push("1", { "a.txt": "one" }), { credential: CREDENTIAL });
    expect(closed.asked[0]).toBeUndefined();
    expect(closed.asked[1]).toEqual({ username: "x-access-token", password: "the-password" });
  });
});

describe("a commit that cannot be had", () => {
  test("since the repository has none of this id is the author's to mend", async () => {
    await using it = await start();
    await it.git.push("1", { "a.txt": "one" });
    await expect(it.fetch("1".repeat(40) as CommitSha)).rejects.toMatchObject({ kind: "source-missing" });
  });

  test("since it is larger than it may be is the author's to mend, and leaves nothing behind", async () => {
    await using it = await start({ limits: { maxPackBytes: 256 * 1024 } });
    const small = await it.git.push("1", { "a.txt": "one" });
    const { gitDir } = await it.fetch(small);
    const large = await it.git.push("1", { "a.bin": randomBytes(400 * 1024).toString("hex") });
    await expect(it.fetch(large)).rejects.toMatchObject({ kind: "source-too-large" });
    expect(await unfinished(gitDir)).toEqual([]);
    await it.fetch(small);
  });

  test("since git takes its objects for hostile is the author's to mend", async () => {
    await using it = await start();
    await it.git.push("1", { "a.txt": "one" });
    const inBare = (args: string[], input = "") =>
      runGit(it.git.bareDir("1"), ["--git-dir=.", ...args], { input });
    const blob = await inBare(["hash-object", "-w", "--stdin"], "[core]\n");
    const tree = await inBare(["mktree"], `100644 blob ${blob}\t.GIT\n`);
    const commit = await inBare(["commit-tree", "-m", "hostile", tree]);
    await inBare(["update-ref", "refs/heads/main", commit]);
    await expect(it.fetch(commit as CommitSha)).rejects.toMatchObject({ kind: "source-refused" });
  });

  test("since the credential is refused is the platform's trouble, and nobody is asked for another", async () => {
    await using it = await start({ isPrivate: true });
    const commit = await it.git.push("1", { "a.txt": "one" });
    const wrong = { username: "x-access-token", password: new Secret("another-password") };
    for (const credential of [wrong, undefined]) {
      await expect(it.fetch(commit, { credential })).rejects.toMatchObject({
        name: "KnownError",
        kind: "platform-unavailable",
        message: expect.stringContaining("acme/site"),
      });
    }
    expect(it.asked.filter((access) => access?.password === "another-password")).toHaveLength(1);
  });

  const troubles: Record<string, RequestListener> = {
    "answers 403": (_request, response) => void response.writeHead(403).end(),
    "answers 404": (_request, response) => void response.writeHead(404).end(),
    "answers 429": (_request, response) => void response.writeHead(429).end(),
    "answers 500": (_request, response) => void response.writeHead(500).end(),
    "answers what is not git's": (_request, response) => void response.writeHead(200).end("<html>"),
    "breaks off": (request) => void request.socket.destroy(),
  };
  for (const [name, instead] of Object.entries(troubles)) {
    test(`since the host ${name} is the platform's trouble`, async () => {
      await using it = await start({ instead });
      await expect(it.fetch("1".repeat(40) as CommitSha)).rejects.toBeInstanceOf(HostUnavailable);
    });
  }

  test("since the asker gave up ends at once with the reason, and the next one is served", async () => {
    await using it = await start();
    const commit = await it.git.push("1", { "a.txt": "one" });
    const held = it.git.hold();
    const controller = new AbortController();
    const reason = new Error("superseded");
    const fetched = it.fetch(commit, { signal: controller.signal });
    await held.arrived;
    controller.abort(reason);
    await expect(fetched).rejects.toBe(reason);
    held.release();
    await it.fetch(commit);
  });
});

describe("a commit that was cut off in the middle", () => {
  test("is fetched when it is next asked for, whatever locks git left behind", async () => {
    await using it = await start();
    await using stalling = await start({
      // By then git holds its locks.
      instead: (request, response) => {
        if (request.method === "POST") sendOnly(response, 10_000);
        it.git.serve(request, response, (id) => ({ id }));
      },
      limits: { fetchMs: 2000 },
    });
    const commit = await it.git.push("1", { "a.bin": randomBytes(200 * 1024).toString("hex") });
    await expect(stalling.fetch(commit)).rejects.toBeInstanceOf(HostUnavailable);
    const { gitDir } = await stalling.fetch(commit, { url: it.url });
    expect(await runGit(gitDir, ["--git-dir=.", "cat-file", "-t", commit])).toBe("commit");
  });

  /** The beginning, and then nothing more, not even an end. */
  function sendOnly(response: ServerResponse, bytes: number): void {
    const write = response.write.bind(response);
    let left = bytes;
    response.write = (chunk: Buffer) => {
      const some = chunk.subarray(0, left);
      left -= some.length;
      return some.length === 0 || write(some);
    };
    response.end = () => response;
  }
});

describe("what a repository or its host could lead git to", () => {
  test("a redirect is not followed", async () => {
    await using target = await start();
    const commit = await target.git.push("1", { "a.txt": "one" });
    await using it = await start({
      instead: (request, response) =>
        void response.writeHead(302, { location: target.url.replace("/1.git", request.url ?? "") }).end(),
    });
    await expect(it.fetch(commit, { credential: CREDENTIAL })).rejects.toBeInstanceOf(HostUnavailable);
    expect(target.asked).toEqual([]);
  });

  test("another way than HTTP is not taken", async () => {
    await using it = await start();
    const commit = await it.git.push("1", { "a.txt": "one" });
    const canary = join(it.root, "canary");
    for (const url of [
      `ext::sh -c touch% ${canary}`,
      `file://${it.git.bareDir("1")}`,
      it.git.bareDir("1"),
      "ssh://127.0.0.1/x",
      "--upload-pack=touch",
    ]) {
      await expect(it.fetch(commit, { url })).rejects.toThrow("not an address to clone from");
    }
    await expect(stat(canary)).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("submodules are not fetched, and no hook is run", async () => {
    await using it = await start();
    const canary = join(it.root, "canary");
    const gitDir = join(it.root, "repository-1.git");
    await mkdir(join(gitDir, "hooks"), { recursive: true });
    const hook = `#!/bin/sh\ntouch ${canary}\n`;
    for (const name of ["post-checkout", "reference-transaction", "post-merge", "pre-auto-gc"])
      await writeFile(join(gitDir, "hooks", name), hook, { mode: 0o755 });
    const commit = await it.git.push("1", {
      ".gitmodules": `[submodule "a"]\n\tpath = a\n\turl = ext::sh -c touch% ${canary}\n[submodule "b"]\n\tpath = b\n\turl = ./1.git\n`,
      "a.txt": "one",
    });
    const requests = () => it.asked.length;
    await it.fetch(commit);
    const after = requests();
    await it.clones.tidy(REPOSITORY, async () => new Set([commit]), new AbortController().signal);
    expect(requests()).toBe(after);
    expect(after).toBeLessThanOrEqual(3);
    await expect(stat(canary)).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("a commit that is no commit id is not passed on", async () => {
    await using it = await start();
    for (const commit of ["--upload-pack=x", "main", "HEAD", ""])
      await expect(async () => it.fetch(commit as CommitSha)).rejects.toThrow();
    expect(it.asked).toEqual([]);
  });
});

part("openssl")("a host with a certificate of its own", () => {
  test("a certificate is trusted where its authority was given, and not otherwise", async () => {
    const { cert, key } = await selfSignedCertificate();
    await using plain = await start();
    const commit = await plain.git.push("1", { "a.txt": "one" });
    const server = createTlsServer({ cert, key }, (request, response) => {
      plain.git.serve(request, response, (id) => ({ id }));
    });
    const url = `${await listen(server, "https")}/1.git`;
    try {
      await expect(plain.fetch(commit, { url })).rejects.toBeInstanceOf(HostUnavailable);
      const root = join(plain.root, "trusting");
      const trusting = await RemoteClones.open({ root, title: "The host", ca: cert });
      const source = async () => ({ url, credential: undefined });
      await trusting.fetch(REPOSITORY, commit, source, new AbortController().signal);
    } finally {
      await close(server);
    }
  });
});

part("proc")("a commit that does not come", () => {
  test("since the host does not answer ends within the deadline, with all that git started", async () => {
    const processes = gitProcesses();
    await using it = await start({ instead: () => undefined, limits: { fetchMs: 400 } });
    const began = performance.now();
    await expect(it.fetch("1".repeat(40) as CommitSha)).rejects.toBeInstanceOf(HostUnavailable);
    expect(performance.now() - began).toBeLessThan(5000);
    await eventually("every process has ended", () => gitProcesses() <= processes);
  });
});
