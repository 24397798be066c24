import { join } from "node:path";
import { fastify } from "fastify";
import { describe, expect, it } from "vitest";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { renderBadge, serveBadges } from "../src/badge.ts";
import type { FunctionSpec } from "../src/function-spec.ts";
import type { Replica, RunningRevision } from "../src/ports/runtime/runtime.ts";
import { openSqliteStore } from "../src/ports/store/sqlite.ts";
import { addOwners } from "./support/owners.ts";

type Behaviour = Pick<FunctionSpec, "access" | "replicas"> & { readonly ready: number };

/** Owner `a` with these functions, all from its repository `repo`, and a server of badges that listens. */
async function open(functions: Readonly<Record<string, Behaviour>>) {
  const stack = new AsyncDisposableStack();
  const dir = stack.use(await temporaryFolder());
  const store = stack.adopt(await openSqliteStore(join(dir.path, "store.sqlite")), (it) => it.destroy());
  await addOwners(store);
  const running: RunningRevision[] = [];
  for (const [name, { ready, ...behaviour }] of Object.entries(functions)) {
    const of = { owner_id: "owner-a", run_id: "run", created_at: 0 };
    await store
      .insertInto("revisions")
      .values({
        ...of,
        id: `revision-${name}`,
        function_id: name,
        artifact_digest: "d",
        artifact_reference: "d",
        spec: JSON.stringify({ name, ...behaviour }),
        identity: name,
      })
      .execute();
    await store
      .insertInto("functions")
      .values({
        id: name,
        owner_id: "owner-a",
        name,
        repository_id: "repository-a",
        branch: "main",
        active_revision_id: `revision-${name}`,
        generation: 1,
        commit_sha: "0".repeat(40),
        run_id: "run",
        deployed_at: 0,
      })
      .execute();
    const replicas = Array.from(
      { length: behaviour.replicas },
      (_, i): Replica => ({
        id: `${name}-${i}`,
        state: i < ready ? "ready" : "backing-off",
        upstream: { id: `${name}-${i}`, url: "http://127.0.0.1:1" },
        restarts: 0,
        lastExit: undefined,
      }),
    );
    running.push({ revisionId: `revision-${name}`, functionId: name, ownerId: "owner-a", replicas });
  }
  const server = stack.adopt(fastify(), (it) => it.close());
  serveBadges(server, { store, runtime: { list: () => running } });
  const base = await server.listen({ host: "127.0.0.1", port: 0 });
  const get = async (path: string) => {
    const answer = await fetch(`${base}${path}`);
    const body = await answer.text();
    return {
      status: answer.status,
      headers: answer.headers,
      body,
      title: /<title>(.*)<\/title>/.exec(body)?.[1],
    };
  };
  return { store, get, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

const PUBLIC = { access: "public", replicas: 2 } as const;

describe("the badge of a function", () => {
  it.each([
    ["live", 2],
    ["degraded", 1],
    ["down", 0],
  ] as const)("says %s where %s of two replicas answer", async (state, ready) => {
    await using it = await open({ cart: { ...PUBLIC, ready } });
    expect((await it.get("/badge/a/cart.svg")).title).toBe(`cart: ${state}`);
  });

  it("is an image that may be kept for a minute, and shown on any site", async () => {
    await using it = await open({ cart: { ...PUBLIC, ready: 2 } });
    const { status, headers, body } = await it.get("/badge/a/cart.svg");
    expect(status).toBe(200);
    expect(Object.fromEntries(headers)).toMatchObject({
      "content-type": "image/svg+xml; charset=utf-8",
      "cache-control": "public, max-age=60",
      "cross-origin-resource-policy": "cross-origin",
    });
    expect(body.length).toBeLessThan(1024);
    expect(body).toMatch(/^<svg [^>]*role="img" aria-label="cart: live">/);
  });

  it("knows owners as old links write them", async () => {
    await using it = await open({ cart: { ...PUBLIC, ready: 2 } });
    expect((await it.get("/badge/A/cart.svg")).title).toBe("cart: live");
  });

  it.each(["signed-in", "members", "token"] as const)(
    "looks as that of an unknown one where the function is for %s",
    async (access) => {
      await using it = await open({ cart: { access, replicas: 1, ready: 1 } });
      const hidden = await it.get("/badge/a/cart.svg");
      await using empty = await open({});
      const [unknown, unknownOwner] = [
        await empty.get("/badge/a/cart.svg"),
        await empty.get("/badge/z/cart.svg"),
      ];
      const seen = ({ status, headers, body }: typeof hidden) => {
        const { date: _, ...rest } = Object.fromEntries(headers);
        return { status, rest, body };
      };
      expect(hidden.title).toBe("cart: none");
      expect(seen(hidden)).toEqual(seen(unknown));
      expect(seen(hidden)).toEqual(seen(unknownOwner));
    },
  );

  it.each([
    "/badge/a/cart",
    "/badge/a/cart.png",
    "/badge/a/%3Cb%3E.svg",
    "/badge/a/..%2Fcart.svg",
    "/badge/%3C/cart.svg",
    "/badge/a",
  ])("is not at %s", async (path) => {
    await using it = await open({ cart: { ...PUBLIC, ready: 2 } });
    expect((await it.get(path)).status).toBe(404);
  });
});

describe("the badge of a repository", () => {
  const path = "/badge/a/repositories/repo.svg";

  it.each([
    ["live where all its functions are", [2, 2], "live"],
    ["degraded where one is not", [2, 1], "degraded"],
    ["degraded where one is down", [2, 0], "degraded"],
    ["down where all are", [0, 0], "down"],
  ] as const)("says %s", async (_what, [one, other], state) => {
    await using it = await open({ cart: { ...PUBLIC, ready: one }, till: { ...PUBLIC, ready: other } });
    expect((await it.get(path)).title).toBe(`repo: ${state}`);
  });

  it("says nothing of functions that are not public", async () => {
    await using it = await open({
      cart: { ...PUBLIC, ready: 2 },
      till: { access: "members", replicas: 1, ready: 0 },
    });
    expect((await it.get(path)).title).toBe("repo: live");
  });

  it.each([{ private: 1 }, { unlinked_at: 1 }])("says nothing where the repository is %o", async (change) => {
    await using it = await open({ cart: { ...PUBLIC, ready: 2 } });
    await it.store.updateTable("repositories").set(change).where("id", "=", "repository-a").execute();
    expect((await it.get(path)).title).toBe("repo: none");
  });

  it("says nothing of one that does not exist", async () => {
    await using it = await open({});
    expect((await it.get("/badge/a/repositories/team/site.svg")).title).toBe("team/site: none");
  });
});

describe("what a badge says", () => {
  it("is text, whatever it holds", () => {
    const svg = renderBadge(`</text></title><script>alert("1")</script>&'\u0000\u001b\ud800`, "live");
    expect(svg.match(/<\/?([a-zA-Z]+)/g)?.toSorted()).toEqual(
      renderBadge("cart", "live")
        .match(/<\/?([a-zA-Z]+)/g)
        ?.toSorted(),
    );
    expect(svg).toContain("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&apos;");
    expect(svg.isWellFormed()).toBe(true);
    expect(svg).not.toMatch(/\p{Cc}/u);
  });

  it("is as wide as its text, up to sixty characters", () => {
    const width = (svg: string) => Number(/width="(\d+)"/.exec(svg)?.[1]);
    expect(width(renderBadge("cart-of-many-things", "live"))).toBeGreaterThan(
      width(renderBadge("cart", "live")),
    );
    expect(width(renderBadge("a".repeat(255), "live"))).toBeLessThan(550);
    expect(renderBadge("a".repeat(255), "live")).toContain(`<title>${"a".repeat(255)}: live</title>`);
  });

  it("can be told from its ground (WCAG 2.2, 1.4.3)", () => {
    for (const state of ["live", "degraded", "down", "none"] as const) {
      for (const [, colour = ""] of renderBadge("cart", state).matchAll(/<rect [^>]*fill="(#\w+)"/g)) {
        expect(contrastToWhite(colour), `${state} ${colour}`).toBeGreaterThanOrEqual(4.5);
      }
    }
  });
});

/** WCAG 2.2, "contrast ratio". */
function contrastToWhite(colour: string): number {
  const digits =
    colour.length === 4 ? [...colour.slice(1)].map((digit) => digit + digit) : colour.slice(1).match(/../g);
  const [red = 0, green = 0, blue = 0] = (digits ?? []).map((pair) => {
    const channel = Number.parseInt(pair, 16) / 255;
    return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
  });
  return 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05);
}
