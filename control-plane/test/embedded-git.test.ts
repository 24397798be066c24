import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdir } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { must } from "@openfaas-cloud/shared/must.ts";
import { BranchName, CommitSha } from "@openfaas-cloud/shared/names.ts";
import { describe, expect, test, vi } from "vitest";
import { openEmbeddedSourceHost } from "../src/ports/source-host/embedded.ts";
import { sourceHostContract } from "./contracts/source-host.ts";
import { type HostResource, startEmbeddedHost } from "./support/embedded-host.ts";
import { commitFiles, runGit, startGit } from "./support/git-client.ts";
import { controlledRun } from "./support/push-gate.ts";

// A push is a dozen processes, and the machine may be busy.
vi.setConfig({ testTimeout: 60_000 });

const push = (work: string, ...args: string[]) => startGit(work, ["push", "origin", ...args]).finished;

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly text: string;
}

/** One request as written, without a client that would tidy its path. */
function ask(
  it: HostResource,
  path: string,
  options: {
    method?: string;
    headers?: Record<string, string>;
    body?: Buffer;
    token?: string | undefined;
  } = {},
): Promise<Answer> {
  const token = "token" in options ? options.token : "token-of-alice";
  const authorization =
    token === undefined ? {} : { authorization: `Basic ${Buffer.from(`x:${token}`).toString("base64")}` };
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        port: it.port,
        host: "127.0.0.1",
        path,
        method: options.method ?? "GET",
        headers: { ...authorization, ...options.headers },
      },
      (response) => {
        let text = "";
        response.setEncoding("latin1");
        response.on("data", (chunk) => {
          text += chunk;
        });
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
        );
        response.on("error", reject);
      },
    );
    sent.on("error", reject);
    sent.end(options.body);
  });
}

describe("the embedded source host", () => {
  sourceHostContract(async () => {
    const it = await startEmbeddedHost();
    const work = await it.workTree();
    const before = CommitSha.parse(await commitFiles(work, { "stack.yml": "1\n" }));
    await push(work, "main");
    const commit = CommitSha.parse(await commitFiles(work, { "stack.yml": "2\n" }));
    it.gate.decide = () => {
      const run = controlledRun();
      run.finish({ succeeded: false, message: "no" });
      return run.verdict;
    };
    await push(work, "main");
    return {
      host: it.host,
      repository: must(it.gate.pushes[0]?.repository, "the repository"),
      branch: BranchName.parse("main"),
      before,
      commit,
      [Symbol.asyncDispose]: () => it[Symbol.asyncDispose](),
    };
  });
});

describe("a push", () => {
  test("creates the repository, which can be cloned and fetched then", async () => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree();
    const first = await commitFiles(work, { "hello/handler.js": "1\n" }, "Say hello\n\nand more");
    const pushed = await push(work, "main");
    expect(pushed).toMatchObject({ code: 0 });
    expect(pushed.stderr).toContain("remote: hello is live");
    expect(it.gate.pushes).toEqual([
      {
        repository: expect.objectContaining({ repositoryId: "r1", owner: "alice", name: "hello" }),
        branch: "main",
        before: undefined,
        commit: first,
        message: "Say hello",
        author: "Alice <alice@example.test>",
        person: "local:alice",
      },
    ]);
    const clone = await it.folder();
    await runGit(clone, ["clone", "--quiet", it.url("alice/hello.git"), "."]);
    expect(await runGit(clone, ["rev-parse", "HEAD"])).toBe(first);
    expect(await runGit(clone, ["branch", "--show-current"])).toBe("main");

    const second = await commitFiles(work, { "hello/handler.js": "2\n" });
    expect(await push(work, "main")).toMatchObject({ code: 0 });
    expect(it.gate.pushes[1]).toMatchObject({ before: first, commit: second });
    await runGit(clone, ["fetch", "--quiet"]);
    expect(await runGit(clone, ["rev-parse", "origin/main"])).toBe(second);
    const shallow = await it.folder();
    await runGit(shallow, ["clone", "--quiet", "--depth", "1", it.url("alice/hello.git"), "."]);
    expect(await runGit(shallow, ["rev-list", "--count", "HEAD"])).toBe("1");
    for (const version of ["0", "1", "2"]) {
      const refs = await runGit(work, ["-c", `protocol.version=${version}`, "ls-remote", "origin"]);
      expect(refs.split("\n").toSorted()).toEqual([`${second}\tHEAD`, `${second}\trefs/heads/main`]);
    }
    expect(it.errors).toEqual([]);
  });

  test("shows each line of the run as it comes, and moves the branch when the run has ended well", async () => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree();
    const commit = await commitFiles(work, { a: "1\n" });
    const run = controlledRun();
    it.gate.decide = () => run.verdict;
    const pushing = startGit(work, ["push", "origin", "main"]);
    run.print("building hello\x1b[2J\u202e");
    await pushing.printed("remote: building hello");
    expect(await it.ref("r1", "refs/heads/main")).toBe("");
    run.print("deploying hello");
    await pushing.printed("remote: deploying hello");
    run.finish({ succeeded: true, message: "hello is live at http://alice.localhost/hello" });
    const { code, stderr } = await pushing.finished;
    expect(code).toBe(0);
    expect(stderr).toContain("remote: hello is live at http://alice.localhost/hello");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none may reach the terminal of the person who pushes.
    expect(stderr).not.toMatch(/\x1b\[2J|\u202e/);
    expect(await it.ref("r1", "refs/heads/main")).toBe(commit);
  });

  test("fails with the run: the branch stays, the commit is kept, and the same push can be made again", async () => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree();
    const commit = CommitSha.parse(await commitFiles(work, { a: "1\n" }));
    it.gate.decide = () => {
      const run = controlledRun();
      run.print("npm ERR!");
      run.finish({ succeeded: false, message: "build-failed: npm install ended with 1" });
      return run.verdict;
    };
    const failed = await push(work, "main");
    expect(failed.code).not.toBe(0);
    expect(failed.stderr).toMatch(/remote: npm ERR!\s+remote: build-failed: npm install ended with 1/);
    expect(failed.stderr).toContain("[remote rejected] main -> main (hook declined)");
    expect(await it.ref("r1", "refs/heads/")).toBe("");
    expect(await it.ref("r1", "refs/openfaas/")).toBe(commit);
    await it.host.fetchCommit(must(it.gate.pushes[0]?.repository, "repository"), commit, {
      log: { write: () => undefined },
      signal: new AbortController().signal,
    });
    it.gate.decide = (again) => it.gate.succeedOnDefaultBranch(again);
    expect(await push(work, "main")).toMatchObject({ code: 0 });
    expect(await it.ref("r1", "refs/heads/main")).toBe(commit);
  });

  test("that failed is kept for as long as its run is, and no longer", async () => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree();
    const commit = CommitSha.parse(await commitFiles(work, { a: "1\n" }));
    it.gate.decide = () => ({ kind: "refused", message: "no" });
    await push(work, "main");
    const repository = must(it.gate.pushes[0]?.repository, "repository");
    await it.host.tidy(repository, async () => new Set([commit]), new AbortController().signal);
    expect(await it.ref("r1", "refs/openfaas/")).toBe(commit);
    await it.host.tidy(repository, async () => new Set(), new AbortController().signal);
    expect(await it.ref("r1", "refs/openfaas/")).toBe("");
  });

  test("that is under way keeps its commit, although no run asks for it yet", async () => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree();
    const commit = CommitSha.parse(await commitFiles(work, { a: "1\n" }));
    const run = controlledRun();
    it.gate.decide = () => run.verdict;
    const pushing = startGit(work, ["push", "origin", "main"]);
    run.print("under way");
    await pushing.printed("remote: under way");
    await it.host.tidy(
      must(it.gate.pushes[0]?.repository, "repository"),
      async () => new Set(),
      new AbortController().signal,
    );
    expect(await it.ref("r1", "refs/openfaas/")).toBe(commit);
    run.finish({ succeeded: true, message: "live" });
    expect(await pushing.finished).toMatchObject({ code: 0 });
  });

  test("is refused with the gate's reason, and with an own one where the gate fails", async () => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree();
    await commitFiles(work, { a: "1\n" });
    it.gate.decide = () => ({ kind: "refused", message: "this owner may not deploy" });
    expect(await push(work, "main")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("remote: this owner may not deploy"),
    });
    it.gate.decide = () => Promise.reject(new Error("SQLITE_FULL at /secret/path"));
    const failed = await push(work, "main");
    expect(failed).toMatchObject({ code: 1, stderr: expect.stringContaining("could not take the push") });
    expect(failed.stderr).not.toContain("/secret/path");
    expect(it.errors).toHaveLength(1);
    expect(await it.ref("r1", "refs/heads/")).toBe("");
  });

  test("of many branches deploys one, and chooses main for it", async () => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree();
    const commit = await commitFiles(work, { a: "1\n" });
    for (const name of ["a-first", "master", "zz/feature"]) await runGit(work, ["branch", name]);
    const pushed = await push(work, "--all");
    expect(pushed).toMatchObject({ code: 0 });
    expect(pushed.stderr).toContain("remote: a-first: stored, not deployed.");
    expect(it.gate.repositories.get("alice/hello")?.defaultBranch).toBe("main");
    expect((await it.ref("r1", "refs/heads/")).split("\n")).toEqual(Array(4).fill(commit));
  });

  test("of one branch makes that the one that is deployed", async () => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree();
    await commitFiles(work, { a: "1\n" });
    await push(work, "main:trunk");
    expect(it.gate.repositories.get("alice/hello")?.defaultBranch).toBe("trunk");
    const clone = await it.folder();
    await runGit(clone, ["clone", "--quiet", it.url("alice/hello.git"), "."]);
    expect(await runGit(clone, ["branch", "--show-current"])).toBe("trunk");
  });

  test("of a tag is kept and not deployed; other refs and odd branches are refused", async () => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree();
    const commit = await commitFiles(work, { a: "1\n" });
    await push(work, "main");
    await runGit(work, ["tag", "-a", "-m", "one", "v1"]);
    expect(await push(work, "v1")).toMatchObject({
      code: 0,
      stderr: expect.stringContaining("not deployed"),
    });
    for (const ref of ["refs/openfaas/commits/x", "refs/notes/x", "refs/replace/x", "refs/heads/a!b"]) {
      expect(await push(work, `main:${ref}`)).toMatchObject({ code: 1 });
    }
    expect(await push(work, `v1:refs/heads/tag`)).toMatchObject({ code: 1 });
    const refs = await runGit(work, ["ls-remote", "origin", "refs/heads/*"]);
    expect(refs).toBe(`${commit}\trefs/heads/main`);
    expect(it.gate.pushes).toHaveLength(1);
  });

  test("can delete a branch, but not the one that is deployed", async () => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree();
    const commit = await commitFiles(work, { a: "1\n" });
    await push(work, "main", "main:side");
    expect(await push(work, "--delete", "side")).toMatchObject({ code: 0 });
    expect(await push(work, "--delete", "main")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("cannot be deleted"),
    });
    expect(await it.ref("r1", "refs/heads/")).toBe(commit);
    expect(it.gate.pushes).toHaveLength(2);
  });

  test("may be forced", async () => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree();
    const first = await commitFiles(work, { a: "1\n" });
    await push(work, "main");
    await runGit(work, ["commit", "--quiet", "--amend", "-m", "rewritten"]);
    expect(await push(work, "main")).toMatchObject({ code: 1 });
    expect(await push(work, "--force", "main")).toMatchObject({ code: 0 });
    expect(it.gate.pushes.at(-1)).toMatchObject({ before: first, message: "rewritten" });
  });

  test("that comes while another one runs takes the branch over", async () => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree();
    const base = await commitFiles(work, { a: "0\n" });
    await push(work, "main");
    const runs = [controlledRun("one"), controlledRun("two")] as const;
    let next = 0;
    it.gate.decide = () => must(runs[next++], "a run").verdict;

    await commitFiles(work, { a: "1\n" });
    const older = startGit(work, ["push", "origin", "main"]);
    await it.gate.pushed(2);
    const rival = await it.workTree();
    await runGit(rival, ["pull", "--quiet", "origin", "main"]);
    const winner = await commitFiles(rival, { b: "2\n" });
    const newer = startGit(rival, ["push", "origin", "main"]);
    await it.gate.pushed(3);
    runs[0].finish({ succeeded: true, message: "one is live" });
    expect(await older.finished).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("A newer push of main"),
    });
    expect(await it.ref("r1", "refs/heads/main")).toBe(base);
    runs[1].finish({ succeeded: true, message: "two is live" });
    expect(await newer.finished).toMatchObject({ code: 0 });
    expect(await it.ref("r1", "refs/heads/main")).toBe(winner);
    expect(it.errors).toEqual([]);
  });

  test("that took the branch over and failed leaves it to the one before that did not", async () => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree();
    await commitFiles(work, { a: "0\n" });
    await push(work, "main");
    const runs = [controlledRun("one"), controlledRun("two")] as const;
    let next = 0;
    it.gate.decide = () => must(runs[next++], "a run").verdict;
    const first = await commitFiles(work, { a: "1\n" });
    const older = startGit(work, ["push", "origin", "main"]);
    await it.gate.pushed(2);
    await commitFiles(work, { a: "2\n" });
    const newer = startGit(work, ["push", "origin", "main"]);
    await it.gate.pushed(3);
    runs[0].finish({ succeeded: true, message: "one is live" });
    await older.finished;
    runs[1].finish({ succeeded: false, message: "two failed" });
    expect(await newer.finished).toMatchObject({ code: 1 });
    await it.host[Symbol.asyncDispose]();
    expect(await it.ref("r1", "refs/heads/main")).toBe(first);
  });

  test("at the same moment as others of the branch: one gets it, and the others are told", async () => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree();
    await commitFiles(work, { a: "0\n" });
    await push(work, "main");
    const works = await Promise.all([it.workTree(), it.workTree(), it.workTree(), it.workTree()]);
    for (const [index, other] of works.entries()) {
      await runGit(other, ["pull", "--quiet", "origin", "main"]);
      await commitFiles(other, { [`${index}`]: "x\n" });
    }
    const results = await Promise.all(works.map((other) => push(other, "main")));
    const winners = results.filter(({ code }) => code === 0);
    expect(winners).toHaveLength(1);
    // Each push that reached the gate was at the branch's tip then, and all but the last of them were taken over.
    expect(it.gate.pushes.length - 1).toBeGreaterThanOrEqual(winners.length);
    expect(it.errors).toEqual([]);
  });
});

describe("when the connection of a push breaks", () => {
  test("before the platform took it, nothing is left of it", async () => {
    await using it = await startEmbeddedHost();
    const taken = Promise.withResolvers<void>();
    const gate = it.gate;
    const find = gate.findRepository.bind(gate);
    gate.findRepository = async (owner, name) => {
      taken.resolve();
      return find(owner, name);
    };
    const work = await it.workTree();
    await commitFiles(work, { a: randomBytes(8 * 1024 * 1024) });
    const pushing = startGit(work, ["push", "origin", "main"]);
    await taken.promise;
    pushing.kill();
    await pushing.finished;
    await it.host[Symbol.asyncDispose]();
    expect(gate.pushes).toEqual([]);
    if (gate.repositories.size > 0) expect(await it.ref("r1", "refs/")).toBe("");
  });

  test("the run goes on and the branch moves with it", async () => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree();
    const commit = await commitFiles(work, { a: "1\n" });
    const run = controlledRun();
    it.gate.decide = () => run.verdict;
    const pushing = startGit(work, ["push", "origin", "main"]);
    run.print("building");
    await pushing.printed("building");
    pushing.kill();
    await pushing.finished;
    run.print("more");
    const [pushed] = it.gate.pushes;
    await it.host.settlePush(must(pushed, "the push"));
    run.finish({ succeeded: true, message: "live" });
    await pollUntil(async () => (await it.ref("r1", "refs/heads/main")) === commit);
    expect(it.errors).toEqual([]);
  });

  test("with the platform, the person is told, and the next platform settles it", async () => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree();
    const commit = await commitFiles(work, { a: "1\n" });
    const run = controlledRun();
    it.gate.decide = () => run.verdict;
    const pushing = startGit(work, ["push", "origin", "main"]);
    run.print("building");
    await pushing.printed("building");
    const closing = it.host[Symbol.asyncDispose]();
    const { code, stderr } = await pushing.finished;
    await closing;
    expect(code).toBe(1);
    expect(stderr).toContain("remote: The platform was stopped. Your push is stored as a run");
    expect(await it.ref("r1", "refs/heads/main")).toBe("");
    expect(await it.ref("r1", "refs/openfaas/commits")).toBe(commit);

    const onError = (error: unknown) => it.errors.push(error);
    await using next = await openEmbeddedSourceHost({ dataDir: it.dataDir, gate: it.gate, onError });
    const settled = must(it.gate.pushes[0], "the push");
    await next.settlePush(settled);
    await next.settlePush(settled);
    expect(await it.ref("r1", "refs/heads/main")).toBe(commit);
    // A push that found the branch elsewhere comes too late.
    const { repository, branch } = settled;
    await next.settlePush({ repository, branch, before: undefined, commit: CommitSha.parse("2".repeat(40)) });
    expect(await it.ref("r1", "refs/heads/main")).toBe(commit);
    expect(it.errors).toEqual([]);
  });
});

describe("access", () => {
  test("needs a token, and says what to do about a wrong one", async () => {
    await using it = await startEmbeddedHost();
    const path = "/git/alice/hello.git/info/refs?service=git-receive-pack";
    expect(await ask(it, path, { token: undefined })).toMatchObject({
      status: 401,
      headers: { "www-authenticate": 'Basic realm="OpenFaaS Cloud"' },
    });
    expect(await ask(it, path, { token: "wrong" })).toMatchObject({
      status: 401,
      text: expect.stringMatching(/^This token .*make a new one.*\n$/),
    });
    const work = await it.folder();
    await runGit(work, ["init", "--quiet"]);
    await commitFiles(work, { a: "1\n" });
    const refused = await startGit(work, ["push", it.url("alice/hello.git", "wrong"), "main"]).finished;
    expect(refused).toMatchObject({ code: 128, stderr: expect.stringContaining("remote: This token") });
    expect(await readdir(join(it.dataDir, "git"))).not.toContain("r1.git");
  });

  test("to somebody else's repository looks like access to nobody's", async () => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree("bob/hello.git");
    await commitFiles(work, { a: "1\n" });
    await startGit(work, ["push", it.url("bob/hello.git", "token-of-bob"), "main"]).finished;
    for (const service of ["git-receive-pack", "git-upload-pack"]) {
      const answers = await Promise.all(
        ["bob/hello", "bob/missing", "nobody/hello", "BOB/hello", "-/hello"].map((name) =>
          ask(it, `/git/${name}.git/info/refs?service=${service}`),
        ),
      );
      for (const { status, text } of answers)
        expect({ status, text }).toEqual({ status: 404, text: answers[0]?.text });
    }
    expect(await ask(it, "/git/bob/hello.git/git-receive-pack", { method: "POST" })).toMatchObject({
      status: 404,
    });
    expect(await push(work, "main")).toMatchObject({ code: 128 });
    expect(it.gate.pushes).toHaveLength(1);
  });

  test("without the scope says so, and the same of everybody's repositories", async () => {
    await using it = await startEmbeddedHost();
    it.gate.may = { read: false, write: false };
    for (const [service, lacking] of [
      ["git-receive-pack", "push"],
      ["git-upload-pack", "read (or push)"],
    ])
      for (const name of ["alice/hello", "bob/hello", "nobody/hello"])
        expect(await ask(it, `/git/${name}.git/info/refs?service=${service}`)).toMatchObject({
          status: 403,
          text: expect.stringContaining(`This access token lacks the scope ${lacking}:`),
        });
    const work = await it.workTree();
    await commitFiles(work, { a: "1\n" });
    expect((await push(work, "main")).stderr).toContain("remote: This access token lacks the scope push");
  });

  test("that is refused for a reason of the owner's own shows it to the person who pushes", async () => {
    await using it = await startEmbeddedHost();
    it.gate.reason = "The repositories of bob live at git.test: push there.";
    const work = await it.workTree("bob/hello.git");
    await commitFiles(work, { a: "1\n" });
    expect((await push(work, "main")).stderr).toContain("remote: The repositories of bob live at git.test");
    expect(it.gate.repositories.size).toBe(0);
  });

  test("to a repository that does not exist says how to make it, and makes nothing", async () => {
    await using it = await startEmbeddedHost();
    const cloned = await startGit(await it.folder(), ["clone", it.url("alice/none.git"), "."]).finished;
    expect(cloned).toMatchObject({
      code: 128,
      stderr: expect.stringContaining("remote: repository not found: push to create it"),
    });
    expect(await ask(it, "/git/alice/none.git/info/refs?service=git-receive-pack")).toMatchObject({
      status: 200,
    });
    expect(it.gate.repositories.size).toBe(0);
  });

  test("by an address that git would not write finds nothing", async () => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree();
    await commitFiles(work, { a: "1\n" });
    await push(work, "main");
    const paths = [
      "/git/alice/hello.git",
      "/git/alice/hello.git/",
      "/git/alice/hello.git/HEAD",
      "/git/alice/hello.git/objects/info/packs",
      "/git/alice/hello.git/info/refs",
      "/git/alice/hello.git/info/refs?service=git-upload-archive",
      "/git/alice/hello.git/info/refs?service=git-upload-pack&x=1",
      "/git/alice/hello.git/config",
      "/git/alice/hello.git/git-upload-pack",
      "/git/alice/../bob/hello.git/info/refs?service=git-upload-pack",
      "/git/alice/..%2fhello.git/info/refs?service=git-upload-pack",
      "/git/alice/%2e%2e.git/info/refs?service=git-upload-pack",
      "/git/%61lice/hello.git/info/refs?service=git-upload-pack",
      "/git//alice/hello.git/info/refs?service=git-upload-pack",
      "/git/alice//hello.git/info/refs?service=git-upload-pack",
      "/git/alice/hello.git//info/refs?service=git-upload-pack",
      "/git/alice/hello.git.git/info/refs?service=git-upload-pack",
      "/git/alice/..git/info/refs?service=git-upload-pack",
      "/git/alice/...git/info/refs?service=git-upload-pack",
      "/git/alice/-x.git/info/refs?service=git-upload-pack",
      "/git/alice/hello/info/refs?service=git-upload-pack",
      "/git/alice/r1.git/../r1.git/info/refs?service=git-upload-pack",
      "/git/empty.template/info/refs?service=git-upload-pack",
    ];
    for (const path of paths) expect({ path, ...(await ask(it, path)) }).toMatchObject({ path, status: 404 });
  });

  test("an address without .git is answered with the shape of one that is served", async () => {
    await using it = await startEmbeddedHost();
    expect(await ask(it, "/git/alice/hello/info/refs?service=git-receive-pack")).toMatchObject({
      status: 404,
      text: "There is no git service at this address: a repository's is /git/<owner>/<repository>.git.\n",
    });
  });
});

describe("bodies", () => {
  /** A push of one commit by hand: the commands, then the pack. */
  function bodyOf(work: string, commit: string): Buffer {
    const command = `${"0".repeat(40)} ${commit} refs/heads/main\0report-status\n`;
    const pack = spawnSync("git", ["pack-objects", "--stdout", "--revs", "-q"], {
      cwd: work,
      input: `${commit}\n`,
    });
    return Buffer.concat([
      Buffer.from(`${(command.length + 4).toString(16).padStart(4, "0")}${command}0000`),
      pack.stdout,
    ]);
  }

  test.each([
    ["with a length", {}],
    ["in chunks", { "transfer-encoding": "chunked" }],
    ["announced by Expect: 100-continue", { expect: "100-continue" }],
    ["compressed", { "content-encoding": "gzip" }],
  ])("may be sent %s", async (_how, headers: Record<string, string>) => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree();
    const commit = await commitFiles(work, { a: "1\n" });
    const body = bodyOf(work, commit);
    const answer = await ask(it, "/git/alice/hello.git/git-receive-pack", {
      method: "POST",
      headers: { "content-type": "application/x-git-receive-pack-request", ...headers },
      body: headers["content-encoding"] === "gzip" ? gzipSync(body) : body,
    });
    expect(answer).toMatchObject({ status: 200, text: expect.stringContaining("ok refs/heads/main") });
    expect(await it.ref("r1", "refs/heads/main")).toBe(commit);
  });

  test("of a push that was overtaken on its way make no run", async () => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree();
    const commit = await commitFiles(work, { a: "1\n" });
    await push(work, "main");
    const late = await it.workTree();
    const answer = await ask(it, "/git/alice/hello.git/git-receive-pack", {
      method: "POST",
      headers: { "content-type": "application/x-git-receive-pack-request" },
      body: bodyOf(late, await commitFiles(late, { b: "1\n" })),
    });
    expect(answer).toMatchObject({ status: 200, text: expect.stringContaining("ng refs/heads/main") });
    expect(it.gate.pushes).toHaveLength(1);
    expect(await it.ref("r1", "refs/heads/main")).toBe(commit);
  });

  test("that the client does not read to the end leave nothing behind", async () => {
    await using it = await startEmbeddedHost({ limits: { maxChildrenPerOwner: 1 } });
    const work = await it.workTree();
    const commit = await commitFiles(work, { big: randomBytes(24 * 1024 * 1024) });
    await push(work, "main");
    const want = `want ${commit} no-progress\n`;
    const line = `${(want.length + 4).toString(16).padStart(4, "0")}${want}`;
    const leave = await new Promise<() => void>((resolve, reject) => {
      const sent = request(
        {
          port: it.port,
          host: "127.0.0.1",
          path: "/git/alice/hello.git/git-upload-pack",
          method: "POST",
          headers: {
            authorization: `Basic ${Buffer.from("x:token-of-alice").toString("base64")}`,
            "content-type": "application/x-git-upload-pack-request",
          },
        },
        (response) =>
          response.once("readable", () => resolve(() => response.destroy())).on("error", () => undefined),
      );
      sent.on("error", reject);
      sent.end(`${line}00000009done\n`);
    });
    const refs = "/git/alice/hello.git/info/refs?service=git-upload-pack";
    // Larger than what sockets usually hold, so that git still waits for its reader when that leaves.
    leave();
    await pollUntil(async () => (await ask(it, refs)).status === 200);
    expect(it.errors).toEqual([]);
  });

  test("larger than the limit are refused, and the push can be made smaller", async () => {
    await using it = await startEmbeddedHost({ limits: { maxPackBytes: 1024 * 1024 } });
    const work = await it.workTree();
    await commitFiles(work, { "big.bin": randomBytes(4 * 1024 * 1024) });
    const refused = await push(work, "main");
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain("pack exceeds maximum allowed size");
    expect(it.gate.pushes).toEqual([]);
    const other = await it.workTree();
    await commitFiles(other, { small: "1\n" });
    expect(await push(other, "main")).toMatchObject({ code: 0 });
  });

  test("that never end are cut off by the deadline", async () => {
    await using it = await startEmbeddedHost({ limits: { uploadMs: 200 } });
    const answer = new Promise<void>((resolve) => {
      const sent = request({
        port: it.port,
        host: "127.0.0.1",
        path: "/git/alice/hello.git/git-receive-pack",
        method: "POST",
        headers: {
          authorization: `Basic ${Buffer.from("x:token-of-alice").toString("base64")}`,
          "content-type": "application/x-git-receive-pack-request",
          "content-length": "1000",
        },
      });
      sent.on("response", (response) =>
        response
          .resume()
          .on("error", () => resolve())
          .on("end", resolve),
      );
      sent.on("error", () => resolve());
      sent.write("0");
    });
    await answer;
    expect(it.gate.pushes).toEqual([]);
  });

  test("of more children than allowed are put off", async () => {
    await using it = await startEmbeddedHost({ limits: { maxChildrenPerOwner: 1 } });
    const work = await it.workTree();
    await commitFiles(work, { a: "1\n" });
    const run = controlledRun();
    it.gate.decide = () => run.verdict;
    const pushing = startGit(work, ["push", "origin", "main"]);
    run.print("building");
    await pushing.printed("building");
    expect(await ask(it, "/git/alice/hello.git/info/refs?service=git-upload-pack")).toMatchObject({
      status: 503,
      headers: { "retry-after": "5" },
    });
    run.finish({ succeeded: true, message: "live" });
    await pushing.finished;
  });

  test("that hold broken or hostile objects are refused by git's own checks", async () => {
    await using it = await startEmbeddedHost();
    const work = await it.workTree();
    const blob = await runGit(work, ["hash-object", "-w", "--stdin"], { input: "x" });
    const entry = Buffer.concat([Buffer.from("100644 .GIT\0"), Buffer.from(blob, "hex")]);
    const tree = await runGit(work, ["hash-object", "-w", "--literally", "-t", "tree", "--stdin"], {
      input: entry,
    });
    const commit = await runGit(work, ["commit-tree", "-m", "x", tree]);
    const refused = await push(work, `${commit}:refs/heads/main`);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("hasDotgit") });
    expect(it.gate.pushes).toEqual([]);
  });
});

test("a repository's own hooks and settings count for nothing", async () => {
  await using it = await startEmbeddedHost();
  const work = await it.workTree();
  await commitFiles(work, {
    "hooks/update": "#!/bin/sh\nexit 0\n",
    config: "[receive]\n\tdenyDeletes = false\n",
  });
  await push(work, "main");
  const folder = await readdir(join(it.dataDir, "git", "r1.git"));
  expect(folder).not.toContain("hooks");
});

test("what became of a commit can be fetched as a note", async () => {
  await using it = await startEmbeddedHost();
  const work = await it.workTree();
  const commit = CommitSha.parse(await commitFiles(work, { a: "1\n" }));
  await push(work, "main");
  const repository = must(it.gate.pushes[0]?.repository, "the repository");
  const report = (context: string, state: "pending" | "success" | "failure", description: string) =>
    it.host.reportStatus(repository, commit, {
      context,
      state,
      description,
      targetUrl: "http://x/runs/1",
      runId: "1",
    });
  await report("stack-deploy", "pending", "building");
  await report("hello", "success", "live");
  await report("stack-deploy", "failure", "build-failed\x1b[2J");
  await pollUntil(async () => (await it.ref("r1", "refs/notes/openfaas")) !== "");
  await report("stack-deploy", "success", "1 function is live");
  await pollUntil(async () => {
    await runGit(work, ["fetch", "--quiet", "--force", "origin", "refs/notes/openfaas:refs/notes/openfaas"]);
    const log = await runGit(work, ["log", "-1", "--notes=openfaas", "--format=%N"]);
    return (
      log ===
      "hello: success — live http://x/runs/1\nstack-deploy: success — 1 function is live http://x/runs/1"
    );
  });
  expect(it.errors).toEqual([]);
});

/** Asks again until it is so; the test's own timeout ends it. */
async function pollUntil(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo()));
}
