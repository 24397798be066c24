import {
  access,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CommitSha } from "@openfaas-cloud/shared/names.ts";
import { expect, test, vi } from "vitest";
import { type CheckoutLimits, checkout } from "../src/pipeline/checkout.ts";
import { commitFiles, runGit } from "./support/git-client.ts";

vi.setConfig({ testTimeout: 60_000 });

/** A repository whose trees are written by object, so that they can be what no git client would make. */
async function openRepository() {
  const temporary = await mkdtemp(join(tmpdir(), "checkout-test-"));
  const work = join(temporary, "work");
  await mkdir(work);
  await runGit(work, ["init", "--quiet"]);
  const gitDir = join(work, ".git");
  const log: string[] = [];
  const blob = (content: string) => runGit(work, ["hash-object", "-w", "--stdin"], { input: content });

  /** Written as it is: `git mktree` would refuse some of the names. */
  async function tree(entries: readonly (readonly [mode: string, name: string | Buffer, object: string])[]) {
    const input = Buffer.concat(
      entries.flatMap(([mode, name, object]) => [
        Buffer.from(`${mode} `),
        Buffer.from(name),
        Buffer.from([0]),
        Buffer.from(object, "hex"),
      ]),
    );
    return runGit(work, ["hash-object", "-w", "--literally", "-t", "tree", "--stdin"], { input });
  }

  return {
    work,
    gitDir,
    target: join(temporary, "target"),
    temporary,
    log,
    blob,
    tree,
    /** A commit of one file, at a name of any kind. */
    async commitEntry(mode: string, name: string | Buffer, object?: string) {
      return runGit(work, [
        "commit-tree",
        "-m",
        "x",
        await tree([[mode, name, object ?? (await blob("x\n"))]]),
      ]);
    },
    commitTree: async (object: string) => runGit(work, ["commit-tree", "-m", "x", object]),
    checkout(commit: string, limits: Partial<CheckoutLimits> = {}, signal = new AbortController().signal) {
      return checkout({
        gitDir,
        commit: CommitSha.parse(commit),
        targetDir: join(temporary, "target"),
        limits,
        log: { write: (source, text) => void log.push(`${source}: ${text}`) },
        signal,
      });
    },
    [Symbol.asyncDispose]: () => rm(temporary, { recursive: true, force: true }),
  };
}

const exists = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

test("writes the files of exactly the commit, byte for byte", async () => {
  await using repository = await openRepository();
  const { work, target } = repository;
  const first = await commitFiles(work, {
    "hello/handler.js": "one\n",
    "a b/ü.txt": "ü\n",
    ".gitattributes": "* text eol=crlf ident\n*.bin filter=lfs\n",
    "x.bin": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    id: "$Id$\n",
    "run.sh": "#!/bin/sh\n",
  });
  await runGit(work, ["update-index", "--chmod=+x", "run.sh"]);
  const second = await commitFiles(work, { "hello/handler.js": "two\n" });
  expect(await repository.checkout(first)).toMatchObject({
    dir: target,
    files: 6,
    symlinks: [],
    leftOut: [],
  });
  expect(await readFile(join(target, "hello/handler.js"), "utf8")).toBe("one\n");
  expect(await readFile(join(target, "a b/ü.txt"), "utf8")).toBe("ü\n");
  expect(await readFile(join(target, "id"), "utf8")).toBe("$Id$\n");
  expect(await readFile(join(target, "x.bin"), "utf8")).toMatch(/^version https:\/\/git-lfs/);
  await rm(target, { recursive: true });
  await repository.checkout(second);
  expect(await readFile(join(target, "hello/handler.js"), "utf8")).toBe("two\n");
  expect(await exists(join(target, ".git"))).toBe(false);
  expect(await readdir(join(repository.gitDir))).not.toContain("index.lock");
});

test("runs no filter, hook or program the repository is configured with", async () => {
  await using repository = await openRepository();
  const { work, gitDir, temporary, target } = repository;
  const canary = join(temporary, "canary");
  const commit = await commitFiles(work, { ".gitattributes": "* filter=evil\n", file: "x\n" });
  for (const key of ["filter.evil.smudge", "filter.evil.process", "core.fsmonitor", "core.sshCommand"]) {
    await runGit(work, ["config", key, `touch ${canary}; cat`]);
  }
  for (const hook of ["post-checkout", "post-index-change", "reference-transaction"]) {
    await mkdir(join(gitDir, "hooks"), { recursive: true });
    await writeFile(join(gitDir, "hooks", hook), `#!/bin/sh\ntouch ${canary}\n`, { mode: 0o755 });
  }
  await repository.checkout(commit);
  expect(await readFile(join(target, "file"), "utf8")).toBe("x\n");
  expect(await exists(canary)).toBe(false);
});

test("keeps a symbolic link that stays inside, and leaves out any that does not", async () => {
  await using repository = await openRepository();
  const { work, target } = repository;
  const links = {
    inside: "hello/handler.js",
    "hello/up": "../README",
    absolute: "/etc/passwd",
    outside: "../../etc/passwd",
    "hello/outside": "../../x",
    detour: "hello/../../x",
    git: ".git/config",
  };
  await commitFiles(work, { "hello/handler.js": "x\n", README: "x\n" });
  for (const [path, to] of Object.entries(links)) await symlink(to, join(work, path));
  const commit = await commitFiles(work, {});
  const source = await repository.checkout(commit);
  expect(source.symlinks.toSorted()).toEqual(["hello/up", "inside"]);
  expect(source.leftOut.map(({ path }) => path).toSorted()).toEqual(
    ["absolute", "detour", "git", "hello/outside", "outside"].toSorted(),
  );
  expect(await readlink(join(target, "inside"))).toBe("hello/handler.js");
  for (const path of ["absolute", "outside", "hello/outside", "detour", "git"]) {
    await expect(lstat(join(target, path))).rejects.toMatchObject({ code: "ENOENT" });
  }
  expect(repository.log.filter((line) => line.includes("is left out"))).toHaveLength(5);
});

test("never writes through a symbolic link, even one whose target is a folder of the repository", async () => {
  await using repository = await openRepository();
  const { blob, tree, commitTree, target } = repository;
  const inner = await tree([["100644", "file", await blob("x\n")]]);
  // Two entries of one name, a link and a folder: what CVE-2021-21300 and its kin are made of.
  const commit = await commitTree(
    await tree([
      ["120000", "a", await blob("b")],
      ["40000", "a", inner],
      ["40000", "b", await tree([["100644", "keep", await blob("x\n")]])],
    ]),
  );
  await repository.checkout(commit).catch(() => undefined);
  expect(await readdir(join(target, "b")).catch(() => ["keep"])).toEqual(["keep"]);
});

test("leaves submodules out, whatever their address, and says so", async () => {
  await using repository = await openRepository();
  const { blob, tree, commitTree, target, log } = repository;
  const modules = ["--upload-pack=touch canary", "ext::sh -c touch% canary", "file:///etc"]
    .map((url, index) => `[submodule "s${index}"]\n\tpath = s${index}\n\turl = ${url}\n`)
    .join("");
  const commit = await commitTree(
    await tree([
      ["100644", ".gitmodules", await blob(modules)],
      ["160000", "s0", "1".repeat(40)],
      ["160000", "s1", "2".repeat(40)],
      ["160000", "s2", "3".repeat(40)],
    ]),
  );
  const source = await repository.checkout(commit);
  expect(source.leftOut.map(({ path }) => path)).toEqual(["s0", "s1", "s2"]);
  expect(source.files).toBe(1);
  expect(log[0]).toContain("submodules are not fetched");
  expect(await exists(join(target, ".gitmodules"))).toBe(true);
  expect(await exists(join(target, "s0", ".git"))).toBe(false);
});

test.each<[string, string | Buffer]>([
  [".git", ".git"],
  [".GIT", ".GIT"],
  [".git with a trailing dot", ".git."],
  [".git with a trailing blank", ".git "],
  ["the 8.3 name of .git", "GIT~1"],
  [".git with an ignored code point", ".g\u200cit"],
  [".git as a stream", ".git::$INDEX_ALLOCATION"],
  ["a parent folder", ".."],
  ["the folder itself", "."],
  ["a carriage return", "a\rb"],
  ["a line end", "a\nb"],
  ["an escape sequence", "\x1b[2J"],
  ["a backslash", "..\\..\\x"],
  ["a name of 256 bytes", "x".repeat(256)],
  ["invalid UTF-8", Buffer.from([0x61, 0xff, 0x62])],
])("refuses %s as a name", async (_what, name) => {
  await using repository = await openRepository();
  for (const [mode, object] of [
    ["100644", undefined],
    ["40000", await repository.tree([["100644", "x", await repository.blob("x")]])],
  ] as const) {
    const commit = await repository.commitEntry(mode, name, object);
    const refusal = repository.checkout(commit);
    await expect(refusal).rejects.toMatchObject({ kind: "source-refused" });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the message must hold none.
    await expect(refusal).rejects.not.toThrow(/[\x00-\x1f]/);
    expect(await exists(repository.target)).toBe(false);
  }
});

test("refuses names that differ only in case", async () => {
  await using repository = await openRepository();
  const commit = await commitFiles(repository.work, { "a/File": "1\n", "a/file": "2\n" });
  await expect(repository.checkout(commit)).rejects.toThrow(/differ only in the case/);
});

test("an embedded bare repository is only files", async () => {
  await using repository = await openRepository();
  const canary = join(repository.temporary, "canary");
  const commit = await commitFiles(repository.work, {
    "bare/HEAD": "ref: refs/heads/main\n",
    "bare/config": `[core]\n\tbare = false\n\tfsmonitor = "touch ${canary}"\n`,
    "bare/refs/keep": "",
    "bare/objects/keep": "",
  });
  expect((await repository.checkout(commit)).files).toBe(4);
  expect(await exists(canary)).toBe(false);
});

test("a bomb of a dozen objects is refused after the limit, not after its millions of files", async () => {
  await using repository = await openRepository();
  let object = await repository.blob("x");
  let mode = "100644";
  for (let level = 0; level < 10; level++) {
    object = await repository.tree(Array.from({ length: 10 }, (_, i) => [mode, `${i}`, object] as const));
    mode = "40000";
  }
  const commit = await repository.commitTree(object);
  const start = performance.now();
  await expect(repository.checkout(commit)).rejects.toMatchObject({ kind: "source-too-large" });
  expect(performance.now() - start).toBeLessThan(5000);
  expect(await exists(repository.target)).toBe(false);
});

test("a deep chain of folders and a long path are refused", async () => {
  await using repository = await openRepository();
  let object = await repository.tree([["100644", "x", await repository.blob("x")]]);
  for (let level = 0; level < 3000; level += 1) {
    if (level === 99 || level === 120) {
      const commit = await repository.commitTree(object);
      const outcome = repository.checkout(commit);
      if (level === 99) await outcome;
      else {
        await expect(outcome).rejects.toThrow(/deeper than 100/);
        break;
      }
    }
    object = await repository.tree([["40000", "d", object]]);
  }
  let long = await repository.tree([["100644", "x", await repository.blob("x")]]);
  for (let level = 0; level < 20; level++) long = await repository.tree([["40000", "x".repeat(250), long]]);
  await expect(repository.checkout(await repository.commitTree(long))).rejects.toThrow(
    /longer than 4096 bytes/,
  );
});

test("more bytes than the limit are refused before they are written", async () => {
  await using repository = await openRepository();
  const commit = await commitFiles(repository.work, { a: Buffer.alloc(2 * 1024 * 1024), b: Buffer.alloc(1) });
  await expect(repository.checkout(commit, { maxTreeBytes: 2 * 1024 * 1024 })).rejects.toThrow(
    /more than 2 MiB/,
  );
  expect(await exists(repository.target)).toBe(false);
  await expect(repository.checkout(commit, { maxEntries: 1 })).rejects.toThrow(/more than 1 files/);
});

test("a tree whose objects are missing is the platform's fault, not the author's", async () => {
  await using repository = await openRepository();
  const commit = await repository.commitEntry("40000", "gone", "1".repeat(40));
  await expect(repository.checkout(commit)).rejects.toMatchObject({ kind: "platform-unavailable" });
});

test("ends with the signal's reason when that aborts, and by its deadline", async () => {
  await using repository = await openRepository();
  const commit = await commitFiles(repository.work, { a: "x" });
  const reason = new Error("superseded");
  await expect(repository.checkout(commit, {}, AbortSignal.abort(reason))).rejects.toBe(reason);
  await expect(repository.checkout(commit, { deadlineMs: 0 })).rejects.toMatchObject({
    kind: "source-too-large",
  });
});
