import { createAccessToken } from "../../src/access/credentials.ts";
import { GRANTABLE_SCOPES, type GrantableScope } from "../../src/access/scopes.ts";
import type { Store } from "../../src/ports/store/store.ts";
import type { Role } from "../../src/role.ts";
import { type AccessServer, openAccessServer } from "./access-server.ts";
import { functionSpec } from "./function-spec.ts";
import { addRemoteOwner, addRun } from "./owners.ts";

/** The caller's own, another one's, and what there is not. */
export const OBJECTS = ["own", "foreign", "missing"] as const;
export type WhichObject = (typeof OBJECTS)[number];

/** What a call is about: by names and ids that do not occur in any other text. */
export interface Target {
  readonly owner: string;
  readonly run: string;
  readonly function: string;
  readonly commit: string;
  readonly session: string;
  readonly token: string;
}

/** What a call is about. */
export type Thing = "owner" | "run" | "of-person";

export interface Caller {
  readonly name: string;
  readonly subject: string | undefined;
  /** At the owner that is its own, and at the one that is foreign; nothing at others. */
  readonly role: Role | undefined;
  readonly isOperator: boolean;
  /** `undefined` for one who calls by a session, or by nothing. */
  readonly scopes: readonly GrantableScope[] | undefined;
}

/** The headers that say who is asking. */
export type Credential = Readonly<Record<string, string>>;

export interface Said {
  readonly status: number;
  readonly body: string;
}

/** Whose secrets, runs and functions must never be seen by anybody else: texts that no input of a call has in it. */
export const canaryOf = (owner: string) => `canary of ${owner}`;

/** One server, and everybody who may ask it something: each has an owner, but for those who have none. */
export async function openAuthorizationWorld() {
  const it = await openAccessServer({ operators: ["git.test:root"] });
  const { host } = it;
  for (const owner of ["owner-of-ours", "owner-of-others"]) await furnish(it, owner);
  const roles = ["viewer", "developer", "admin"] as const;
  for (const role of roles) host.setRole(role, "owner-of-ours", role);
  host.setRole("outsider", "owner-of-others", "admin");
  host.setRole("leaver", "owner-of-ours", "admin");
  for (const person of [...roles, "outsider", "leaver", "root"]) await it.signedIn(person);
  host.setRole("leaver", "owner-of-ours", undefined);
  await it.memberships.refresh("git.test:leaver");

  const callers: Caller[] = [
    { name: "nobody", subject: undefined, role: undefined, isOperator: false, scopes: undefined },
    ...roles.map((role) => person(role, role)),
    person("outsider", "admin"),
    person("leaver", undefined),
    { ...person("root", undefined), name: "an operator", isOperator: true },
    ...[...GRANTABLE_SCOPES.map((scope) => [scope]), GRANTABLE_SCOPES].map((scopes) => ({
      ...person("admin", "admin"),
      name: `a token to ${scopes.join(" and ")}`,
      scopes,
    })),
  ];
  return new AuthorizationWorld(it, callers);
}

export class AuthorizationWorld {
  readonly server: AccessServer;
  readonly callers: readonly Caller[];
  readonly #tokens = new Map<string, string>();
  #count = 0;

  constructor(server: AccessServer, callers: readonly Caller[]) {
    this.server = server;
    this.callers = callers;
  }

  /** Made for one call, so that none finds what another one did. */
  async target(caller: Caller, which: WhichObject, kind: Thing): Promise<Target> {
    const count = ++this.#count;
    const owner = this.#ownerOf(caller, which);
    const target = {
      owner,
      run: `run-${count}`,
      function: `function-of-${owner}`,
      commit: String(count).padStart(40, "0"),
      session: `session-${count}`,
      token: `token-${count}`,
    };
    if (which === "missing") return target;
    if (kind === "run") await this.#makeRun(target);
    if (kind !== "of-person") return target;
    const person = which === "own" ? caller.subject : strangerTo(caller);
    return person === undefined ? target : { ...target, ...(await this.#makeCredentials(person, target)) };
  }

  /** Calls with these headers, as a page of the dashboard would. */
  async call(
    credential: Credential,
    procedure: { readonly path: string; readonly type: "query" | "mutation" | "subscription" },
    input: unknown,
  ): Promise<Said> {
    const url = new URL(`${this.server.origin}/api/trpc/${procedure.path}`);
    const headers = { "sec-fetch-site": "same-origin", ...credential };
    const json = JSON.stringify(input) ?? "null";
    if (procedure.type === "mutation")
      return said(
        await fetch(url, {
          method: "POST",
          body: json,
          headers: { ...headers, "content-type": "application/json" },
        }),
      );
    if (input !== undefined) url.searchParams.set("input", json);
    if (procedure.type === "query") return said(await fetch(url, { headers }));
    return firstOf(url, { ...headers, accept: "text/event-stream" });
  }

  /** Everything that is somebody else's than this caller's: whatever is called, it is as it was. */
  async othersThings(caller: Caller): Promise<string> {
    const { store } = this.server;
    const mine = caller.role === undefined ? [] : await this.#ownersOf(caller);
    const subject = caller.subject ?? "";
    const tables = [
      store.selectFrom("runs").selectAll().where("owner_id", "not in", mine),
      store.selectFrom("functions").selectAll().where("owner_id", "not in", mine),
      store.selectFrom("secrets").selectAll().where("owner_id", "not in", mine),
      store.selectFrom("owners").selectAll(),
      store.selectFrom("memberships").selectAll(),
      store.selectFrom("people").selectAll(),
      store
        .selectFrom("access_tokens")
        .select(["id", "name", "scopes", "hash"])
        .where("subject", "!=", subject),
      store.selectFrom("sessions").select(["session", "jti"]).where("subject", "!=", subject),
    ];
    const rows: unknown[] = [];
    for (const table of tables) rows.push(await table.execute());
    return JSON.stringify(rows);
  }

  async #ownersOf(caller: Caller): Promise<string[]> {
    const owners = await this.server.memberships.ownersOf(caller.subject ?? "");
    return owners.map(({ id }) => id);
  }

  /** A session or a token of the caller's. */
  async credentialOf(caller: Caller): Promise<Credential> {
    const { subject, scopes, name } = caller;
    if (subject === undefined) return {};
    if (scopes === undefined) {
      const origin = { address: "192.0.2.1", userAgent: "a test" };
      const cookie = await this.server.sessions.begin({ subject, name }, origin);
      return { cookie: cookie.split(";")[0] ?? "" };
    }
    const known = this.#tokens.get(name);
    if (known !== undefined) return { authorization: `Bearer ${known}` };
    const wanted = { name, scopes, expiresAt: null };
    const { token } = await createAccessToken(this.server.store, subject, wanted);
    this.#tokens.set(name, token);
    return { authorization: `Bearer ${token}` };
  }

  #ownerOf({ subject }: Caller, which: WhichObject): string {
    const ours = subject === "git.test:outsider" ? "owner-of-others" : "owner-of-ours";
    const theirs = ours === "owner-of-ours" ? "owner-of-others" : "owner-of-ours";
    return { own: ours, foreign: theirs, missing: "owner-of-nobody" }[which];
  }

  /** Takes away what was made for the calls before. */
  async clear(): Promise<void> {
    const { store } = this.server;
    await store.deleteFrom("runs").where("id", "not like", "first-run-%").execute();
    await store.deleteFrom("access_tokens").where("name", "not like", "a token %").execute();
    await store.deleteFrom("sessions").execute();
  }

  async #makeCredentials(person: string, { token }: Target): Promise<Pick<Target, "token" | "session">> {
    const { store, sessions } = this.server;
    const made = await createAccessToken(store, person, { name: token, scopes: ["read"], expiresAt: null });
    await sessions.begin({ subject: person, name: person }, { address: "", userAgent: "" });
    const [session] = await sessions.list(person);
    return { token: made.id, session: session?.session ?? "" };
  }

  async #makeRun({ owner, run, commit }: Target): Promise<void> {
    const { store, api } = this.server;
    await addRun(store, { id: run, owner });
    await store
      .updateTable("runs")
      .set({ commit_sha: commit, message: canaryOf(owner) })
      .where("id", "=", run)
      .execute();
    const stream = { kind: "run", runId: run } as const;
    api.logs.open(stream).write("checkout", `${canaryOf(owner)}\n`);
    await api.logs.end(stream);
  }
}

function person(name: string, role: Role | undefined): Caller {
  return { name: `a ${name}`, subject: `git.test:${name}`, role, isOperator: false, scopes: undefined };
}

function strangerTo({ subject }: Caller): string {
  return subject === "git.test:outsider" ? "git.test:admin" : "git.test:outsider";
}

/** A function that is live, with a log, and a secret. */
async function furnish(it: AccessServer, owner: string): Promise<void> {
  const { store, api } = it;
  await addRemoteOwner(store, owner);
  await addRun(store, { id: `first-run-of-${owner}`, owner, state: "succeeded" });
  const id = `id-of-${owner}`;
  await addFunction(store, { id, owner });
  await api.secrets.set(`owner-${owner}`, "kept-secret", canaryOf(owner));
  api.logs.open({ kind: "function", functionId: id }).write("replica", `${canaryOf(owner)}\n`);
}

async function addFunction(
  store: Store,
  { id, owner }: { readonly id: string; readonly owner: string },
): Promise<void> {
  const ownerId = `owner-${owner}`;
  const run_id = `first-run-of-${owner}`;
  const spec = functionSpec({ environment: { [canaryOf(owner)]: "value" } });
  await store
    .insertInto("revisions")
    .values({
      id: `revision-${id}`,
      function_id: id,
      owner_id: ownerId,
      run_id,
      artifact_digest: "digest",
      artifact_reference: "reference",
      spec: JSON.stringify(spec),
      identity: "identity",
      created_at: 0,
    })
    .execute();
  await store
    .insertInto("functions")
    .values({
      id,
      owner_id: ownerId,
      name: `function-of-${owner}`,
      repository_id: `repository-${owner}`,
      branch: "main",
      active_revision_id: `revision-${id}`,
      generation: 1,
      commit_sha: "a".repeat(40),
      run_id,
      deployed_at: 0,
    })
    .execute();
}

async function said(response: Response): Promise<Said> {
  return { status: response.status, body: await response.text() };
}

/** What a stream says first. It is always a 200: a browser would not hear of anything else, so that errors are events. */
async function firstOf(url: URL, headers: Readonly<Record<string, string>>): Promise<Said> {
  const ended = new AbortController();
  const response = await fetch(url, { headers, signal: ended.signal });
  if (response.body === null || response.status !== 200) return said(response);
  let text = "";
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const event = /event: serialized-error\ndata: (.*)\n\n/.exec(text)?.[1];
    if (event !== undefined) {
      const { data } = JSON.parse(event) as { readonly data: { readonly httpStatus: number } };
      ended.abort();
      return { status: data.httpStatus, body: event };
    }
    if (/(^|\n\n)(id: .*\n)?data: .*\n/.test(text)) break;
  }
  ended.abort();
  return { status: 200, body: text };
}
