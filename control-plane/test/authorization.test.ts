import { initTRPC } from "@trpc/server";
import { describe, expect, it } from "vitest";
import { anyone, type Policy, router } from "../src/api/procedure.ts";
import { appRouter } from "../src/api/router.ts";
import { isAtLeast } from "../src/role.ts";
import {
  type AuthorizationWorld,
  type Caller,
  canaryOf,
  OBJECTS,
  openAuthorizationWorld,
  type Target,
  type Thing,
  type WhichObject,
} from "./support/authorization-world.ts";

/** What a procedure is meant to ask of its caller, and how it is called about something. */
interface Meant {
  readonly policy: Policy;
  /** `undefined` where it is about nobody's things in particular. */
  readonly about?: readonly [Thing, (target: Target) => unknown];
  readonly input?: unknown;
  /** What it answers whoever may: 200 where nothing is said. */
  readonly answers?: number;
}

const anybody: Policy = { kind: "anyone" };
const signedIn: Policy = { kind: "signed-in" };
const inPerson: Policy = { kind: "in-person" };
const viewer: Policy = { kind: "of-owner", role: "viewer" };
const developer: Policy = { kind: "of-owner", role: "developer" };
const admin: Policy = { kind: "of-owner", role: "admin" };
const operator: Policy = { kind: "operator" };

const ofRun: Meant["about"] = ["run", ({ run }) => ({ id: run })];
const ofOwner: Meant["about"] = ["owner", ({ owner }) => ({ owner })];
const ofFunction: Meant["about"] = ["owner", (target) => ({ owner: target.owner, name: target.function })];

/** Whoever adds a procedure says here who may call it, apart from the procedure's own word for it. */
const MEANT: Readonly<Record<string, Meant>> = {
  "session.current": { policy: anybody },
  "session.hosts": { policy: anybody },
  "session.signIn": { policy: anybody, input: { code: "guessed" }, answers: 401 },
  "session.signOut": { policy: inPerson },
  "session.signOutEverywhere": { policy: inPerson },
  "session.list": { policy: inPerson },
  "session.end": { policy: inPerson, about: ["of-person", ({ session }) => ({ id: session })] },
  "platform.about": { policy: signedIn },
  "owners.list": { policy: signedIn },
  "hosts.list": { policy: signedIn },
  "hosts.status": { policy: operator },
  "hosts.confirmRemoval": { policy: operator, input: { id: "none" }, answers: 404 },
  "hosts.newGitHubApp": { policy: operator, input: {} },
  "repositories.list": { policy: viewer, about: ofOwner },
  "audit.list": { policy: admin, about: ofOwner },
  "audit.listAll": { policy: operator, input: {} },
  "functions.list": { policy: viewer, about: ofOwner },
  "functions.get": { policy: viewer, about: ofFunction },
  "functions.usage": { policy: viewer, about: ofFunction },
  "functions.log": { policy: viewer, about: ofFunction },
  "runs.list": { policy: viewer, about: ofOwner },
  "runs.get": { policy: viewer, about: ofRun },
  "runs.ofCommit": {
    policy: viewer,
    about: ["run", ({ owner, commit }) => ({ owner, commit, repository: "repo" })],
  },
  "runs.follow": { policy: viewer, about: ofRun },
  "runs.log": { policy: viewer, about: ofRun },
  "runs.cancel": { policy: developer, about: ofRun },
  "runs.redeploy": { policy: developer, about: ofRun },
  "secrets.list": { policy: viewer, about: ofOwner },
  "secrets.set": {
    policy: developer,
    about: ["owner", ({ owner }) => ({ owner, name: "new-secret", value: "long enough" })],
  },
  "secrets.remove": { policy: developer, about: ["owner", ({ owner }) => ({ owner, name: "kept-secret" })] },
  "tokens.list": { policy: inPerson },
  "tokens.create": {
    policy: inPerson,
    input: { name: "made in a test", scopes: ["read"], expiresInDays: null },
  },
  "tokens.revoke": { policy: inPerson, about: ["of-person", ({ token }) => ({ id: token })] },
};

interface Procedure {
  readonly path: string;
  readonly type: "query" | "mutation" | "subscription";
  readonly policy: Policy;
}

const PROCEDURES: readonly Procedure[] = Object.entries(appRouter._def.procedures).map(
  ([path, procedure]) => {
    const { type, meta } = (procedure as unknown as { _def: { type: Procedure["type"]; meta: Procedure } })
      ._def;
    return { path, type, policy: meta.policy };
  },
);

/** The status that the caller is to get, by what the procedure is meant to ask. */
function due(caller: Caller, { type }: Procedure, meant: Meant, which: WhichObject): number {
  const { policy, answers = 200 } = meant;
  const scope = type === "mutation" ? "write" : "read";
  if (caller.scopes !== undefined && !caller.scopes.includes(scope)) return 403;
  if (policy.kind === "anyone") return answers;
  if (caller.subject === undefined) return 401;
  if (policy.kind === "in-person" && caller.scopes !== undefined) return 403;
  if (policy.kind === "operator" && !caller.isOperator) return 403;
  if (policy.kind !== "of-owner") return which === "own" ? answers : 404;
  if (which !== "own" || caller.role === undefined) return 404;
  return isAtLeast(caller.role, policy.role) ? answers : 403;
}

function meantBy({ path }: Procedure): Meant {
  const meant = MEANT[path];
  if (meant === undefined) throw new Error(`nobody said who may call ${path}: add it to the table`);
  return meant;
}

const inputFor = ({ about, input }: Meant, target: Target) => about?.[1](target) ?? input;
const thingOf = ({ about }: Meant): Thing => about?.[0] ?? "owner";
const objectsOf = (meant: Meant) => (meant.about === undefined ? (["own"] as const) : OBJECTS);

describe("the authorization matrix, by the router itself (G24)", () => {
  it("knows every procedure, and each asks what it is meant to ask", () => {
    expect(Object.fromEntries(PROCEDURES.map(({ path, policy }) => [path, policy]))).toEqual(
      Object.fromEntries(Object.entries(MEANT).map(([path, { policy }]) => [path, policy])),
    );
  });

  it("lets everybody do what they may and no more, and what is foreign looks like what there is not", async () => {
    const world = await openAuthorizationWorld();
    const wrong: string[] = [];
    let calls = 0;
    for (const caller of world.callers) {
      for (const procedure of PROCEDURES) {
        const meant = meantBy(procedure);
        const looks = new Map<WhichObject, string>();
        for (const which of objectsOf(meant)) {
          const attempt = await tryCall(world, caller, { procedure, meant, which });
          const call = `${procedure.path} of ${which}, called by ${caller.name},`;
          wrong.push(...attempt.wrong.map((what) => `${call} ${what}`));
          looks.set(which, attempt.looks);
          calls += 1;
        }
        if (looks.get("foreign") !== looks.get("missing"))
          wrong.push(`${procedure.path}, called by ${caller.name}, tells foreign from missing`);
      }
    }
    expect(wrong).toEqual([]);
    expect(calls).toBeGreaterThan(PROCEDURES.length * world.callers.length);
  }, 120_000);

  it("takes as long for what is foreign as for what there is not", async () => {
    const world = await openAuthorizationWorld();
    const admin = world.callers.find(({ name }) => name === "a admin");
    if (admin === undefined) throw new Error("there is no admin");
    for (const procedure of PROCEDURES) {
      const meant = meantBy(procedure);
      if (meant.about === undefined) continue;
      // A machine that is busy with something else for a moment is no answer: then it is measured again.
      let seen = await times(world, admin, { procedure, meant });
      for (let again = 0; again < 4 && !seen.areAlike; again++)
        seen = await times(world, admin, { procedure, meant });
      expect(seen, procedure.path).toMatchObject({ areAlike: true });
    }
  }, 120_000);
});

describe("a procedure that does not say who may call it", () => {
  const t = initTRPC.create();

  it("is in no router, and the process does not start with it", () => {
    const silent = t.procedure.query(() => "everything");
    const build = () => router({ fine: anyone.query(() => 1), nested: { silent } } as never);
    expect(build).toThrow("nested.silent does not say who may call it");
  });

  it("is in no router by way of another one", () => {
    const other = t.router({ silent: t.procedure.query(() => "everything") });
    expect(() => router({ other } as never)).toThrow("other.silent does not say who may call it");
  });
});

interface Attempt {
  readonly procedure: Procedure;
  readonly meant: Meant;
  readonly which: WhichObject;
}

/** What was wrong about the answer, or about what the call did; and what it looks like, whatever it is about. */
async function tryCall(
  world: AuthorizationWorld,
  caller: Caller,
  { procedure, meant, which }: Attempt,
): Promise<{ readonly wrong: readonly string[]; readonly looks: string }> {
  await world.clear();
  const target = await world.target(caller, which, thingOf(meant));
  const credential = await world.credentialOf(caller);
  const before = await world.othersThings(caller);
  const { status, body } = await world.call(credential, procedure, inputFor(meant, target));
  const wrong: string[] = [];
  const expected = due(caller, procedure, meant, which);
  if (status !== expected) wrong.push(`answers ${status} instead of ${expected}: ${body}`);
  const others = caller.subject === "git.test:outsider" ? "owner-of-ours" : "owner-of-others";
  const hidden = caller.role === undefined ? ["owner-of-ours", "owner-of-others"] : [others];
  if (hidden.some((owner) => body.includes(canaryOf(owner)))) wrong.push(`tells what is foreign: ${body}`);
  if ((await world.othersThings(caller)) !== before) wrong.push("changes what is foreign");
  return { wrong, looks: `${status} ${withoutNames(body, target)}` };
}

function withoutNames(body: string, target: Target): string {
  return Object.entries(target).reduce((text, [name, value]) => text.replaceAll(value, `<${name}>`), body);
}

const MEASURED = 25;
const ALIKE = 0.2;
/** What a machine that does something else beside cannot tell apart. */
const FLOOR_MS = 1.5;

async function times(
  world: AuthorizationWorld,
  caller: Caller,
  { procedure, meant }: Pick<Attempt, "procedure" | "meant">,
) {
  await world.clear();
  const credential = await world.credentialOf(caller);
  const inputs = {
    foreign: inputFor(meant, await world.target(caller, "foreign", thingOf(meant))),
    missing: inputFor(meant, await world.target(caller, "missing", thingOf(meant))),
  };
  const measured = { foreign: [] as number[], missing: [] as number[] };
  for (let i = 0; i < MEASURED; i++) {
    for (const which of ["foreign", "missing"] as const) {
      const began = performance.now();
      await world.call(credential, procedure, inputs[which]);
      measured[which].push(performance.now() - began);
    }
  }
  const foreignMs = median(measured.foreign);
  const missingMs = median(measured.missing);
  const apartMs = Math.abs(foreignMs - missingMs);
  const areAlike = apartMs <= Math.max(FLOOR_MS, ALIKE * Math.min(foreignMs, missingMs));
  return { areAlike, foreignMs, missingMs };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
