import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { must } from "@openfaas-cloud/shared/must.ts";
import { BranchName, type CommitSha } from "@openfaas-cloud/shared/names.ts";
import { describe, expect, onTestFinished, test } from "vitest";
import { part } from "../../../test/support/parts.ts";
import { descendantsOf } from "../../../test/support/process-tree.ts";
import { GrantRevoked, HostUnavailable, SignInRefused } from "../../src/ports/source-host/host-errors.ts";
import type { RawDelivery, RemoteHost, SignInProvider } from "../../src/ports/source-host/remote-host.ts";
import type { CommitState, RepositoryRef, SourceKey } from "../../src/ports/source-host/source-host.ts";
import { ROLES, type Role } from "../../src/role.ts";
import type { HeldGit } from "../support/fake-git.ts";
import { sourceHostContract } from "./source-host.ts";

/**
 * A remote host and the fake that stands for its vendor. The host tries again after milliseconds, and gives up on an answer
 * that does not come within a second, so that tests need not wait.
 */
export interface RemoteHostUnderTest extends AsyncDisposable {
  readonly host: RemoteHost;
  /** Where the host keeps its clones. */
  readonly root: string;
  /** What the host told of failures in the background. */
  readonly errors: readonly unknown[];
  /** Public, of the organisation `acme`, linked. */
  readonly linked: FakeRepository;
  readonly fake: FakeRemoteHost;
}

export interface FakeRepository {
  readonly key: SourceKey;
  readonly ref: RepositoryRef;
  readonly fullName: string;
  /** The default one, and the only one there is. */
  readonly branch: BranchName;
  /** Two commits: `before`, and `commit` on top. */
  readonly before: CommitSha;
  readonly commit: CommitSha;
}

/** What happens at the vendor without our doing. */
export interface FakeRemoteHost {
  /** Of `acme`; public and linked unless told otherwise. */
  addRepository(options?: {
    readonly isPrivate?: boolean;
    readonly isLinked?: boolean;
  }): Promise<FakeRepository>;
  unlink(key: SourceKey): Promise<void>;
  link(key: SourceKey): Promise<void>;
  /** The repository is gone, its id too. */
  remove(key: SourceKey): Promise<void>;
  makePrivate(key: SourceKey): Promise<void>;
  /** A new commit on the default branch. */
  push(key: SourceKey, message: string): Promise<CommitSha>;
  /** The whole grant behind the key is taken back; of hosts without installations, every repository is unlinked. */
  uninstall(key: SourceKey): Promise<void>;
  /** Lists are given out in pages of no more than this. */
  limitPages(size: number): void;
  /** How every request is answered from now on, whatever it asks for, git's too. */
  trouble(trouble: Trouble | undefined): void;
  /** The next git request that is let in waits. */
  holdGit(): HeldGit;
  /** What the commit's page shows now: one status for each context. */
  statuses(key: SourceKey, commit: CommitSha): Promise<readonly ShownStatus[]>;
  /** An authentic delivery of the newest push, made with one of the secrets: 0 is the newest. */
  pushDelivery(repository: FakeRepository, options: { readonly secret: number }): Promise<RawDelivery>;
  /** How many secrets the host was given. At least two. */
  readonly secrets: number;
  /** The header that proves a delivery, and whether it depends on the body. */
  readonly proof: { readonly header: string; readonly coversBody: boolean };
  /** Deliveries that are nearly right in the vendor's own ways, by what is wrong with them. */
  forgeries(repository: FakeRepository): Promise<Readonly<Record<string, RawDelivery>>>;

  /** What Alice's browser brings back from the consent page, where she allows it. */
  consent(authorizeUrl: URL): Promise<{ readonly code: string; readonly state: string }>;
  /** What the vendor lets Alice do at `acme`; nothing at the start. */
  setRole(role: Role | undefined): Promise<void>;
  /** Alice takes her grant back. */
  revokeGrant(): Promise<void>;
}

export type Trouble =
  | {
      readonly kind: "answer";
      readonly status: number;
      readonly retryAfterS?: number;
      /** So many requests are answered as ever before it begins. */
      readonly after?: number;
    }
  | { readonly kind: "hang"; readonly after?: number };

export interface ShownStatus {
  readonly context: string;
  readonly state: CommitState;
  readonly description: string;
  readonly targetUrl: string;
}

/** By what is wrong: none of them says anything about what was asked. */
const TROUBLES: Readonly<Record<string, Trouble>> = {
  "our credential is refused (401)": { kind: "answer", status: 401 },
  "we may not (403)": { kind: "answer", status: 403 },
  "everything is not found (404), as behind a wrong address": { kind: "answer", status: 404 },
  "nothing can be processed (422)": { kind: "answer", status: 422 },
  "too many requests (429)": { kind: "answer", status: 429, retryAfterS: 600 },
  "it fails (500)": { kind: "answer", status: 500 },
  "it is overloaded (503)": { kind: "answer", status: 503, retryAfterS: 600 },
  "it does not answer": { kind: "hang" },
};

const signal = () => new AbortController().signal;

/** What every RemoteHost promises. */
export function remoteHostContract(start: () => Promise<RemoteHostUnderTest>): void {
  describe("as any source host", () => {
    sourceHostContract(async () => {
      const it = await start();
      const { ref: repository, branch, before, commit } = it.linked;
      return {
        host: it.host,
        repository,
        branch,
        before,
        commit,
        [Symbol.asyncDispose]: () => it[Symbol.asyncDispose](),
      };
    });
  });

  describe("deliveries", () => {
    test("are authentic by every one of the secrets, and say which branch moved", async () => {
      await using it = await start();
      const ids = new Set<string | undefined>();
      for (let secret = 0; secret < it.fake.secrets; secret++) {
        const delivery = await it.fake.pushDelivery(it.linked, { secret });
        const verdict = await it.host.verify(delivery);
        if (verdict.kind !== "authentic") throw new Error(`secret ${secret}: ${verdict.reason}`);
        ids.add(verdict.deliveryId);
        expect(it.host.parse(verdict.event, delivery.body.toString())).toMatchObject({
          kind: "push",
          repository: it.linked.key,
          branch: it.linked.branch,
          before: it.linked.before,
          commit: it.linked.commit,
        });
      }
      if (!ids.has(undefined)) expect(ids.size).toBe(it.fake.secrets);
    });

    test("are refused where the proof is absent, wrong, cut short, longer or there twice", async () => {
      await using it = await start();
      const { header } = it.fake.proof;
      const { headers, body } = await it.fake.pushDelivery(it.linked, { secret: 0 });
      const proof = headers[header] as string;
      const wrong = {
        absent: undefined,
        empty: "",
        wrong: `${proof.slice(0, -4)}${proof.endsWith("0000") ? "1111" : "0000"}`,
        "cut short": proof.slice(0, -1),
        longer: `${proof}0`,
        twice: [proof, proof],
        "not of this alphabet": `${proof.slice(0, -1)}\u00e9`,
      };
      for (const [name, value] of Object.entries(wrong)) {
        const verdict = await it.host.verify({ headers: { ...headers, [header]: value }, body });
        expect(verdict.kind, name).toBe("refused");
      }
      expect((await it.host.verify({ headers, body })).kind).toBe("authentic");
    });

    test("are refused where the vendor's own rules are nearly met", async () => {
      await using it = await start();
      for (const [name, forgery] of Object.entries(await it.fake.forgeries(it.linked))) {
        expect((await it.host.verify(forgery)).kind, name).toBe("refused");
      }
    });

    test("are refused where the body is not the one that was signed", async () => {
      await using it = await start();
      if (!it.fake.proof.coversBody) return;
      const { headers, body } = await it.fake.pushDelivery(it.linked, { secret: 0 });
      const text = body.toString();
      const others = {
        "the same JSON, written otherwise": JSON.stringify(JSON.parse(text), null, 3),
        "a byte more": `${text} `,
        "a byte less": text.slice(0, -1),
        empty: "",
        "another commit": text.replaceAll(it.linked.commit, "1".repeat(40)),
      };
      for (const [name, other] of Object.entries(others)) {
        expect((await it.host.verify({ headers, body: Buffer.from(other) })).kind, name).toBe("refused");
      }
    });

    test("that cannot be read are ignored with a reason", async () => {
      await using it = await start();
      const { headers, body } = await it.fake.pushDelivery(it.linked, { secret: 0 });
      const verdict = await it.host.verify({ headers, body });
      if (verdict.kind !== "authentic") throw new Error(verdict.reason);
      for (const unreadable of ["", "{", "[]", "null", "{}", '{"ref":7}', `${"[".repeat(5000)}`]) {
        expect(it.host.parse(verdict.event, unreadable)).toMatchObject({
          kind: "ignored",
          reason: expect.stringMatching(/./),
        });
      }
      for (const event of ["", "never-heard-of", "__proto__", "constructor"]) {
        expect(it.host.parse(event, body.toString())).toMatchObject({ kind: "ignored" });
      }
    });
  });

  describe("what is linked", () => {
    test("is told by the repository's id, and no more once it is unlinked", async () => {
      await using it = await start();
      const { key, fullName, branch } = it.linked;
      expect(await it.host.fetchRepository(key, signal())).toMatchObject({
        kind: "linked",
        facts: {
          key,
          owner: { login: "acme", kind: "organization" },
          fullName,
          defaultBranch: branch,
          isPrivate: false,
          // Not every host puts the name into the address in one piece.
          webUrl: expect.stringContaining(must(fullName.split("/").at(-1), "a name")),
        },
      });
      await it.fake.unlink(key);
      expect(await it.host.fetchRepository(key, signal())).toMatchObject({ kind: "unlinked" });
      await it.fake.link(key);
      expect(await it.host.fetchRepository(key, signal())).toMatchObject({ kind: "linked" });
    });

    test("follows the repository being made private and deleted", async () => {
      await using it = await start();
      const { key } = it.linked;
      await it.fake.makePrivate(key);
      expect(await it.host.fetchRepository(key, signal())).toMatchObject({ facts: { isPrivate: true } });
      await it.fake.remove(key);
      expect(await it.host.fetchRepository(key, signal())).toMatchObject({
        kind: "unlinked",
        reason: expect.stringMatching(/./),
      });
    });

    test("ends with the grant behind it", async () => {
      await using it = await start();
      const { key } = it.linked;
      await it.fake.uninstall(key);
      expect(await it.host.fetchRepository(key, signal())).toMatchObject({ kind: "unlinked" });
      expect(await it.host.listRepositories(signal())).toEqual([]);
      if (key.installation === undefined) return;
      expect(await it.host.fetchInstallation(key.installation, signal())).toMatchObject({ kind: "removed" });
    });

    test("is listed completely over several pages, or not at all", async () => {
      await using it = await start();
      it.fake.limitPages(2);
      const expected = [it.linked.fullName];
      for (const isPrivate of [true, false, false, true]) {
        expected.push((await it.fake.addRepository({ isPrivate })).fullName);
      }
      await it.fake.addRepository({ isLinked: false });
      const list = async () =>
        (await it.host.listRepositories(signal())).map(({ fullName }) => fullName).sort();
      expect(await list()).toEqual(expected.sort());
      if (it.linked.key.installation !== undefined) {
        const state = await it.host.fetchInstallation(it.linked.key.installation, signal());
        expect(state).toMatchObject({ kind: "installed", owner: { login: "acme" } });
        expect(state).toHaveProperty("repositories.length", expected.length);
      }

      let refused = 0;
      for (let after = 0; after < 12; after++) {
        it.fake.trouble({ kind: "answer", status: 401, after });
        const outcome = await list().catch((error: unknown) => error);
        if (outcome instanceof HostUnavailable) refused++;
        else expect(outcome).toEqual(expected);
      }
      expect(refused).toBeGreaterThan(1);
    });

    test("is its newest commit by branch, and none where there is no such branch", async () => {
      await using it = await start();
      const { key, branch, commit } = it.linked;
      expect(await it.host.fetchHead(key, branch, signal())).toMatchObject({ commit });
      const next = await it.fake.push(key, "say hello\n\nand more");
      expect(await it.host.fetchHead(key, branch, signal())).toEqual({
        commit: next,
        message: expect.stringMatching(/^say hello/),
        author: "Alice",
      });
      const absent = BranchName.parse("feature/none");
      expect(await it.host.fetchHead(key, absent, signal())).toBeUndefined();
    });

    for (const [name, trouble] of Object.entries(TROUBLES)) {
      test(`is unknown while ${name}`, async () => {
        await using it = await start();
        const { key, branch } = it.linked;
        it.fake.trouble(trouble);
        const began = performance.now();
        const asked = [
          it.host.fetchRepository(key, signal()),
          it.host.fetchHead(key, branch, signal()),
          it.host.listRepositories(signal()),
          it.host.fetchInstallation(key.installation ?? "1", signal()),
        ];
        for (const outcome of await Promise.allSettled(asked)) {
          expect(outcome).toMatchObject({ status: "rejected", reason: expect.any(HostUnavailable) });
        }
        expect(performance.now() - began).toBeLessThan(10_000);
        it.fake.trouble(undefined);
        expect(await it.host.fetchRepository(key, signal())).toMatchObject({ kind: "linked" });
      });
    }

    test("is not waited for any longer once the asker gives up", async () => {
      await using it = await start();
      it.fake.trouble({ kind: "hang" });
      const reason = new Error("no longer of interest");
      const controller = new AbortController();
      const asked = [
        it.host.fetchRepository(it.linked.key, controller.signal),
        it.host.listRepositories(controller.signal),
      ];
      controller.abort(reason);
      for (const outcome of await Promise.allSettled(asked)) expect(outcome).toHaveProperty("reason", reason);
    });
  });

  part("proc")("private repositories", () => {
    test("are cloned with a credential that is in no argument, environment, file or log", async () => {
      await using it = await start();
      const repository = await it.fake.addRepository({ isPrivate: true });
      const held = it.fake.holdGit();
      onTestFinished(held.release);
      const logged: string[] = [];
      const log = { write: (...said: unknown[]) => void logged.push(said.map(String).join(" ")) };
      const fetched = it.host.fetchCommit(repository.ref, repository.commit, { log, signal: signal() });
      const access = must(await Promise.race([held.arrived, fetched.then(() => undefined)]), "a credential");

      const seen = describeProcesses().filter((text) => /^git\b|git-remote/.test(text));
      expect(seen.some((text) => text.includes("fetch"))).toBe(true);
      held.release();
      const { gitDir } = await fetched;
      expect(gitDir.startsWith(it.root)).toBe(true);
      for (const text of [...seen, ...logged, ...it.errors.map(String), ...(await filesBelow(it.root))]) {
        for (const form of formsOf(access.password)) expect(text.includes(form)).toBe(false);
      }
    });

    test("that cannot be read are a failure of the platform, and not of the commit", async () => {
      await using it = await start();
      const { ref, commit } = await it.fake.addRepository({ isPrivate: true });
      for (const status of [401, 403, 404, 500]) {
        it.fake.trouble({ kind: "answer", status });
        await expect(
          it.host.fetchCommit(ref, commit, { log: { write: () => undefined }, signal: signal() }),
        ).rejects.toBeInstanceOf(HostUnavailable);
      }
    });
  });

  describe("reports", () => {
    const status = {
      context: "stack-deploy",
      description: "1 function is live",
      targetUrl: "http://system.localhost/runs/1",
      runId: "1",
    };
    const detail = {
      startedAt: Date.now() - 5000,
      finishedAt: Date.now(),
      logTail: "building\n".repeat(20_000),
      annotations: Array.from({ length: 120 }, (_, i) => ({
        path: "stack.yml",
        line: i + 1,
        level: i % 2 === 0 ? ("failure" as const) : ("notice" as const),
        message: "not understood",
      })),
    };

    test("show each context's newest state, whichever it is and however often it is sent", async () => {
      await using it = await start();
      const { ref, key, commit } = it.linked;
      for (const state of ["pending", "success", "failure", "neutral"] as const) {
        for (const context of ["stack-deploy", "hello"]) {
          const runId = `run-${state}`;
          await it.host.reportStatus(ref, commit, { ...status, context, runId, state: "pending" });
          await it.host.reportStatus(ref, commit, { ...status, context, runId, state });
          await it.host.reportStatus(ref, commit, { ...status, context, runId, state });
        }
        const shown = await it.fake.statuses(key, commit);
        expect(shown.map(({ context }) => context).sort()).toEqual(["hello", "stack-deploy"]);
        for (const one of shown) {
          expect(one).toMatchObject({ description: status.description, targetUrl: status.targetUrl });
          if (state === "neutral") expect(["failure", "pending"]).not.toContain(one.state);
          else expect(one.state).toBe(state);
        }
      }
    });

    test("are taken whatever their length", async () => {
      await using it = await start();
      const { ref, key, commit } = it.linked;
      const description = `The stack file is wrong: ${"é".repeat(2000)}`;
      await it.host.reportStatus(ref, commit, { ...status, state: "failure", description, detail });
      const [shown] = await it.fake.statuses(key, commit);
      expect(shown).toMatchObject({ state: "failure" });
      expect(shown?.description).toMatch(/^The stack file is wrong: éé/);
    });

    test("of a deployment may be sent twice", async () => {
      await using it = await start();
      const { ref, commit } = it.linked;
      const report = {
        runId: "1",
        environmentUrl: "http://acme.localhost/hello",
        logUrl: "http://system.localhost/runs/1",
      };
      for (const state of ["in_progress", "success", "success", "failure"] as const) {
        await it.host.reportDeployment(ref, commit, { ...report, state });
      }
    });

    test("are no silent loss where the host does not take them", async () => {
      await using it = await start();
      const { ref, commit } = it.linked;
      for (const code of [401, 429, 500]) {
        it.fake.trouble({ kind: "answer", status: code, retryAfterS: 600 });
        await expect(
          it.host.reportStatus(ref, commit, { ...status, state: "success" }),
        ).rejects.toBeInstanceOf(HostUnavailable);
      }
    });
  });

  describe("sign-in", () => {
    const redirectUri = "http://auth.system.localhost/sign-in/callback";
    const provider = ({ host }: RemoteHostUnderTest) => must(host.signIn, "a way to sign in");
    const challenge = (verifier: string) => createHash("sha256").update(verifier).digest("base64url");

    async function consent(it: RemoteHostUnderTest, codeVerifier: string): Promise<string> {
      const url = provider(it).authorizeUrl({
        state: "the-state",
        codeChallenge: challenge(codeVerifier),
        redirectUri,
      });
      const { code, state } = await it.fake.consent(url);
      expect(state).toBe("the-state");
      return code;
    }

    async function signIn(it: RemoteHostUnderTest): Promise<Awaited<ReturnType<SignInProvider["exchange"]>>> {
      const codeVerifier = randomBytes(32).toString("base64url");
      const code = await consent(it, codeVerifier);
      return provider(it).exchange({ code, codeVerifier, redirectUri }, signal());
    }

    test("gives who it is, by an id that survives renames", async () => {
      await using it = await start();
      const { identity, grant } = await signIn(it);
      expect(identity).toMatchObject({ sourceId: expect.stringMatching(/./), login: "alice" });
      expect(grant.accessToken).not.toBe("");
      expect((await signIn(it)).identity).toEqual(identity);
    });

    test("refuses a code that was used, that is another's, or that another browser asked for", async () => {
      await using it = await start();
      const codeVerifier = randomBytes(32).toString("base64url");
      const code = await consent(it, codeVerifier);
      const exchange = (answer: { code: string; codeVerifier: string }) =>
        provider(it).exchange({ ...answer, redirectUri }, signal());
      await expect(exchange({ code: "made-up", codeVerifier })).rejects.toBeInstanceOf(SignInRefused);
      await exchange({ code, codeVerifier });
      await expect(exchange({ code, codeVerifier })).rejects.toBeInstanceOf(SignInRefused);
      const other = await consent(it, codeVerifier);
      await expect(
        exchange({ code: other, codeVerifier: randomBytes(32).toString("base64url") }),
      ).rejects.toBeInstanceOf(SignInRefused);
    });

    test("tells what the person may do for each owner, as it is now", async () => {
      await using it = await start();
      const state = await it.host.fetchRepository(it.linked.key, signal());
      if (state.kind !== "linked") throw new Error(state.reason);
      let { grant } = await signIn(it);
      for (const role of [undefined, ...ROLES, undefined]) {
        await it.fake.setRole(role);
        const access = await provider(it).fetchAccess(grant, signal());
        grant = access.grant;
        const atAcme = access.owners.filter(({ owner }) => owner.sourceId === state.facts.owner.sourceId);
        expect(atAcme).toEqual(role === undefined ? [] : [{ owner: state.facts.owner, role }]);
      }
    });

    test("goes on with a new grant where the old one is about to expire", async () => {
      await using it = await start();
      await it.fake.setRole("developer");
      const { grant } = await signIn(it);
      if (grant.refreshToken === undefined) return;
      const renewed = await provider(it).fetchAccess({ ...grant, expiresAt: Date.now() - 1 }, signal());
      expect(renewed.grant.accessToken).not.toBe(grant.accessToken);
      expect(renewed.owners).not.toEqual([]);
      expect((await provider(it).fetchAccess(renewed.grant, signal())).owners).toEqual(renewed.owners);
    });

    test("does not lose a new grant when the host fails right after it gave it", async () => {
      await using it = await start();
      await it.fake.setRole("developer");
      const grant = { ...(await signIn(it)).grant, expiresAt: Date.now() - 1 };
      if (grant.refreshToken === undefined) return;
      it.fake.trouble({ kind: "answer", status: 500, after: 1 });
      await expect(provider(it).fetchAccess(grant, signal())).rejects.toBeInstanceOf(HostUnavailable);
      it.fake.trouble(undefined);
      expect((await provider(it).fetchAccess(grant, signal())).owners).not.toEqual([]);
    });

    test("says so when the grant was taken back", async () => {
      await using it = await start();
      const { grant } = await signIn(it);
      await it.fake.revokeGrant();
      await expect(provider(it).fetchAccess(grant, signal())).rejects.toBeInstanceOf(GrantRevoked);
      await expect(
        provider(it).fetchAccess({ ...grant, expiresAt: Date.now() - 1 }, signal()),
      ).rejects.toBeInstanceOf(GrantRevoked);
    });

    test("takes a host that does not answer for nothing else", async () => {
      await using it = await start();
      const { grant } = await signIn(it);
      const codeVerifier = randomBytes(32).toString("base64url");
      const code = await consent(it, codeVerifier);
      const troubles: Trouble[] = [
        { kind: "answer", status: 429, retryAfterS: 600 },
        { kind: "answer", status: 500 },
        { kind: "hang" },
      ];
      for (const trouble of troubles) {
        it.fake.trouble(trouble);
        const asked = [
          provider(it).fetchAccess(grant, signal()),
          provider(it).fetchAccess({ ...grant, expiresAt: Date.now() - 1 }, signal()),
          provider(it).exchange({ code, codeVerifier, redirectUri }, signal()),
        ];
        for (const outcome of await Promise.allSettled(asked)) {
          expect(outcome).toMatchObject({ status: "rejected", reason: expect.any(HostUnavailable) });
        }
      }
      it.fake.trouble(undefined);
      await provider(it).fetchAccess(grant, signal());
    });
  });
}

/** Arguments and environment of every process below this one. */
function describeProcesses(): string[] {
  return descendantsOf(process.pid).flatMap(({ pid }) => {
    try {
      const read = (file: string) => readFileSync(`/proc/${pid}/${file}`, "utf8").replaceAll("\0", " ");
      return [`${read("cmdline")}\n${read("environ")}`];
    } catch {
      return [];
    }
  });
}

/** What is in every file of a folder. */
async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return Promise.all(files.map(({ parentPath, name }) => readFile(join(parentPath, name), "latin1")));
}

function formsOf(password: string): string[] {
  return [password, encodeURIComponent(password), Buffer.from(password).toString("hex")];
}
