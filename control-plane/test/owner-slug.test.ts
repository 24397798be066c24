import { join } from "node:path";
import { OwnerSlug, RESERVED_SLUGS } from "@openfaas-cloud/shared/names.ts";
import { describe, expect, it, test } from "vitest";
import { Random } from "../../edge/test/goals/support/random.ts";
import { SEED, size } from "../../edge/test/goals/support/size.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { type SlugIdentity, slugCandidates } from "../src/ports/store/owner-slug.ts";
import { enrolOwner, ensureOwner } from "../src/ports/store/owners.ts";
import { openSqliteStore } from "../src/ports/store/sqlite.ts";

const OWNERS = size(100_000, 1_000_000);
const IN_STORE = 1_500;
const INSTANCES = [
  "github.com",
  "gitlab.com",
  "www.gitlab.example.com/git",
  "bitbucket.org",
  "in.example.com",
  "127.0.0.1:8443",
  "[::1]:8443",
  `${"long-host-".repeat(6)}x.example.com`,
];
const PIECES = [
  "a",
  "b",
  "-",
  "--",
  "_",
  ".",
  "é",
  "ß",
  "Ｆ",
  "日本",
  "🦊",
  "xn--",
  "A",
  "0",
  " ",
  "\u0000",
  "İ",
];

/** Logins as they come and as somebody would choose them who wants another's slug. */
function loginFrom(random: Random, taken: readonly string[]): string {
  switch (random.between(0, 8)) {
    case 0:
      return random.pick([...RESERVED_SLUGS]);
    case 1:
      return random.pick([...RESERVED_SLUGS]).toUpperCase();
    case 2:
      return taken.length > 0 ? random.pick(taken) : "alice";
    case 3:
      return random.word(random.between(60, 70));
    case 4:
      return "a".repeat(random.between(55, 300));
    case 5:
      return random.pick([
        "alice",
        "Alice",
        "ALICE",
        "alice-github",
        "alice-gitlab-2",
        "sign",
        "sign_in",
        "",
      ]);
    case 6:
      return random.word(random.between(1, 6));
    default:
      return Array.from({ length: random.between(0, 8) }, () => random.pick(PIECES)).join("");
  }
}

function allocate(identity: SlugIdentity, taken: { has(slug: string): boolean }): OwnerSlug {
  for (const slug of slugCandidates(identity)) if (!taken.has(slug)) return slug;
  throw new Error("unreachable");
}

describe("G26: a slug", () => {
  it(`is one owner's alone, a DNS label and never a reserved word, for ${OWNERS} owners`, () => {
    const random = new Random(SEED);
    const owners = new Map<string, string>();
    const slugs: string[] = [];
    for (let i = 0; i < OWNERS; i++) {
      const identity = {
        instance: random.pick(INSTANCES),
        sourceId: String(i),
        login: loginFrom(random, slugs),
      };
      const slug = allocate(identity, owners);
      const about = `${JSON.stringify(identity)}, GOAL_SEED=${SEED}`;
      if (!OwnerSlug.safeParse(slug).success) expect.fail(`no DNS label: ${slug} of ${about}`);
      if (RESERVED_SLUGS.has(slug)) expect.fail(`reserved: ${slug} of ${about}`);
      // Browsers show such a label as what it decodes to, which may look like another's.
      if (slug.startsWith("xn--")) expect.fail(`punycode: ${slug} of ${about}`);
      owners.set(slug, identity.sourceId);
      slugs.push(slug);
    }
    expect(new Set(owners.values()).size, `GOAL_SEED=${SEED}`).toBe(OWNERS);
  });

  it("is not the local owner's where another had it first, and whoever starts the platform is told", async () => {
    await using folder = await temporaryFolder();
    const store = await openSqliteStore(join(folder.path, "store.sqlite"));
    try {
      await enrolOwner(store, {
        instance: "github.com",
        facts: { sourceId: "1", login: "Alice", kind: "person" },
      });
      const slug = OwnerSlug.parse("alice");
      const local = { sourceHost: "embedded", sourceOwnerId: slug, login: slug, slug };
      await expect(ensureOwner(store, local)).rejects.toMatchObject({
        kind: "slug-taken",
        message: expect.stringContaining("Alice of github.com"),
      });
    } finally {
      await store.destroy();
    }
  });

  it("is the same in the store, whoever enrols at the same time, and stays whatever the owner is called", async () => {
    await using folder = await temporaryFolder();
    const store = await openSqliteStore(join(folder.path, "store.sqlite"));
    const random = new Random(SEED);
    const slugs = new Map<string, string>();
    const enrol = (instance: string, sourceId: string, login: string) =>
      enrolOwner(store, { instance, facts: { sourceId, login, kind: "person" } });
    for (let i = 0; i < IN_STORE; i++) {
      const instance = random.pick(INSTANCES);
      const sourceId = String(random.between(0, IN_STORE / 4));
      const login = loginFrom(random, [...slugs.values()].slice(-50));
      const [one, other] = await Promise.all([
        enrol(instance, sourceId, login),
        enrol(instance, sourceId, login),
      ]);
      const { slug } = one.owner;
      expect(other.owner.id, `GOAL_SEED=${SEED}`).toBe(one.owner.id);
      const known = slugs.get(`${instance} ${sourceId}`);
      expect(known ?? slug, `GOAL_SEED=${SEED}`).toBe(slug);
      slugs.set(`${instance} ${sourceId}`, slug);
    }
    expect(new Set(slugs.values()).size, `GOAL_SEED=${SEED}`).toBe(slugs.size);
    await store.destroy();
  });
});

test.each([
  { login: "Alice", taken: [], slug: "alice" },
  { login: "alice", taken: ["alice"], slug: "alice-gitlab" },
  { login: "alice", taken: ["alice", "alice-gitlab"], slug: "alice-gitlab-2" },
  { login: "admin", taken: [], slug: "admin-gitlab" },
  { login: "Josée_Ünal", taken: [], slug: "josee-unal" },
  { login: "日本", taken: [], slug: "owner-gitlab" },
  { login: "x".repeat(63), taken: ["x".repeat(63)], slug: `${"x".repeat(56)}-gitlab` },
])("the owner $login is called $slug where $taken are taken", ({ login, taken, slug }) => {
  const identity = { instance: "gitlab.example.com/git", sourceId: "1", login };
  expect(allocate(identity, new Set<string>(taken))).toBe(slug);
});
