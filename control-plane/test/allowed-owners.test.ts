import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer, type ServerResponse } from "node:http";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { openAllowedOwners } from "../src/access/allowed-owners.ts";
import { CustomerList } from "../src/access/customer-list.ts";
import type { Customers } from "../src/config.ts";
import rules from "./fixtures/customers/rules.json" with { type: "json" };

const SILENT = pino({ level: "silent" });
const MINUTE = 60_000;

const on = (instance: string, login: string, sourceId = "1") => ({ instance, owner: { sourceId, login } });

describe("a list of customers", () => {
  it.each([
    ["finds a login whatever its case", "lucasroesler\n", on("github.com", "LucasRoesler"), true],
    ["may be written in any case", "LucasRoesler\n", on("github.com", "lucasroesler"), true],
    ["finds the first of two", "rgee0\nalexellis", on("github.com", "rgee0"), true],
    ["finds the second of two", "rgee0\nalexellis", on("github.com", "alexellis"), true],
    ["does not find who is not on it", "rgee0\nalexellis", on("github.com", "stranger"), false],
    ["does not find what a login begins with", "alexellis", on("github.com", "alex"), false],
    ["does not find what begins with a login", "alex", on("github.com", "alex-suffix"), false],
    [
      "takes blanks, tabs, and lines of DOS and of editors",
      "\uFEFF  rgee0\t\r\n\r\n",
      on("github.com", "rgee0"),
      true,
    ],
    ["does not find a comment", "# alice\n#bob\ncarol # dave", on("github.com", "alice"), false],
    ["finds who stands before a comment", "# alice\ncarol # dave", on("github.com", "carol"), true],
    ["does not find who stands in a comment", "carol # dave", on("github.com", "dave"), false],
    ["means a bare login at every host", "alice", on("gitlab.example.com/git", "alice"), true],
    ["finds a login at its host", "github.com/alice", on("github.com", "Alice"), true],
    ["does not find it at another", "github.com/alice", on("gitlab.com", "alice"), false],
    ["knows hosts with a path", "gitlab.example.com/git/group", on("gitlab.example.com/git", "group"), true],
    ["knows hosts with a port", "localhost:3000/alice", on("localhost:3000", "alice"), true],
    [
      "does not take the path for the login",
      "gitlab.example.com/git/group",
      on("gitlab.example.com", "git"),
      false,
    ],
    [
      "finds an id whatever the account is called",
      "github.com:id:583231",
      on("github.com", "new-name", "583231"),
      true,
    ],
    ["does not find another id", "github.com:id:583231", on("github.com", "octocat", "58323"), false],
    [
      "does not find the id at another host",
      "github.com:id:583231",
      on("gitlab.com", "octocat", "583231"),
      false,
    ],
    ["does not take an id for a login", "github.com:id:583231", on("github.com", "583231"), false],
    ["finds ids of Bitbucket", "bitbucket.org:id:{3F2A-1}", on("bitbucket.org", "team", "{3f2a-1}"), true],
    ["finds anybody where it says so", "*", on("github.com", "anybody"), true],
    [
      "finds personal projects of Bitbucket Data Center",
      "~alice",
      on("bitbucket.example.com", "~alice"),
      true,
    ],
    ["may have nobody on it", "# nobody yet", on("github.com", "alice"), false],
  ])("%s", (_what, text, asked, found) => {
    expect(new CustomerList(text).has(asked)).toBe(found);
  });

  it.each(rules)("takes $list, which the original calls $original", ({ list }) => {
    const parsed = new CustomerList(list.join("\n"));
    expect(list.every((login) => parsed.has(on("github.com", login)))).toBe(true);
  });

  it.each([
    ["a page", "<!DOCTYPE html>\n<html>"],
    ["an error", "404: Not Found"],
    ["an error in JSON", '{"message":"Not Found"}'],
    ["a login with a space", "alice\nbob carol"],
    ["a login with half a line break", "alice\rbob"],
    ["a pattern that is more than everybody", "al*"],
    ["a line that no login is as long as", `${"a".repeat(300)}`],
    ["an address", "https://github.com/alice"],
    ["nothing at all", ""],
    ["blank lines", " \n\n"],
    ["a control character", "alice\u0000"],
  ])("is refused as a whole where it is or has %s", (_what, text) => {
    expect(() => new CustomerList(text)).toThrow(/list of customers/);
  });
});

/** A server of one list, that answers as it is told and counts how often it is asked. */
async function openListServer(answer: (response: ServerResponse, url: string) => void) {
  let current = answer;
  let asked = 0;
  const server = createServer((request, response) => {
    asked++;
    current(response, request.url ?? "");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("not listening");
  return {
    source: { kind: "url", url: `http://127.0.0.1:${address.port}/CUSTOMERS` } as const,
    origin: `http://127.0.0.1:${address.port}`,
    get asked() {
      return asked;
    },
    answerWith(next: typeof answer) {
      current = next;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const text =
  (body: string, status = 200, headers: Record<string, string> = {}) =>
  (response: ServerResponse) =>
    void response.writeHead(status, headers).end(body);

async function openWorld() {
  const folder = await temporaryFolder();
  let now = 1_000_000;
  return {
    dir: folder.path,
    open: (source: Customers | undefined) =>
      openAllowedOwners({
        source,
        dir: join(folder.path, "customers"),
        logger: SILENT,
        now: () => now,
        fetchMs: 300,
      }),
    advance(ms: number) {
      now += ms;
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

const ALICE = on("github.com", "alice");
const BOB = on("github.com", "bob");

describe("who may deploy", () => {
  it("is nobody where there is no list, with a word on what to set", async () => {
    await using world = await openWorld();
    const owners = await world.open(undefined);
    expect(await owners.isAllowed(ALICE)).toBe(false);
    expect(owners.refusal).toContain("CONTROL_PLANE_CUSTOMERS_URL");
  });

  it("is who is in the file, read again after five minutes", async () => {
    await using world = await openWorld();
    const file = join(world.dir, "CUSTOMERS");
    await writeFile(file, "alice\n");
    const owners = await world.open({ kind: "file", file });
    expect(await owners.isAllowed(ALICE)).toBe(true);
    await writeFile(file, "bob\n");
    expect(await owners.isAllowed(ALICE)).toBe(true);
    world.advance(5 * MINUTE);
    expect(await owners.isAllowed(ALICE)).toBe(false);
    expect(await owners.isAllowed(BOB)).toBe(true);
  });

  it("is fetched once for all who wait", async () => {
    await using world = await openWorld();
    const waiting: ServerResponse[] = [];
    await using server = await openListServer((response) => void waiting.push(response));
    const owners = await world.open(server.source);
    const asked = Array.from({ length: 10 }, (_, i) => owners.isAllowed(i % 2 ? ALICE : BOB));
    const first = await eventually("the list is fetched", () => waiting[0]);
    first.end("alice");
    expect(await Promise.all(asked)).toEqual(Array.from({ length: 10 }, (_, i) => i % 2 === 1));
    expect(server.asked).toBe(1);
  });

  it.each<[string, (response: ServerResponse, url: string) => void]>([
    ["an error page with status 200", text("<html>Sorry</html>", 200, { "content-type": "text/html" })],
    ["a page that says it is text", text("<html>\nSorry\n</html>", 200, { "content-type": "text/plain" })],
    ["404", text("bob", 404)],
    ["500", text("bob", 500)],
    ["204", (response) => void response.writeHead(204).end()],
    ["an empty list", text("")],
    ["more than 1 MiB", text("bob\n".repeat(300_000))],
    [
      "more than 1 MiB, compressed",
      (response) =>
        void response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync("bob\n".repeat(300_000))),
    ],
    ["what is no UTF-8", (response) => void response.writeHead(200).end(Buffer.from([0x62, 0xff, 0x0a]))],
    [
      "less than it promised",
      (response) => {
        response.writeHead(200, { "content-length": "100" });
        response.write("bob\n");
        setTimeout(() => response.destroy(), 20);
      },
    ],
    [
      "a word now and then, for ever",
      (response) => {
        response.writeHead(200);
        const timer = setInterval(() => response.write("bob\n"), 20);
        response.on("close", () => clearInterval(timer));
      },
    ],
    ["nothing", () => undefined],
    ["a way in a circle", text("", 302, { location: "/CUSTOMERS" })],
  ])("stays as it was when the list turns into %s", async (_what, answer) => {
    await using world = await openWorld();
    await using server = await openListServer(text("alice"));
    const owners = await world.open(server.source);
    expect(await owners.isAllowed(ALICE)).toBe(true);
    server.answerWith(answer);
    world.advance(5 * MINUTE);
    expect(await owners.isAllowed(ALICE)).toBe(true);
    expect(await owners.isAllowed(BOB)).toBe(false);

    server.answerWith(text("bob"));
    world.advance(5 * MINUTE);
    expect(await owners.isAllowed(ALICE)).toBe(false);
    expect(await owners.isAllowed(BOB)).toBe(true);
  });

  it("stays as it was when the list sends on to another host, which is not asked", async () => {
    await using world = await openWorld();
    await using server = await openListServer(text("alice"));
    await using other = await openListServer(text("bob"));
    const owners = await world.open(server.source);
    expect(await owners.isAllowed(ALICE)).toBe(true);
    server.answerWith(text("", 302, { location: other.source.url }));
    world.advance(5 * MINUTE);
    expect(await owners.isAllowed(ALICE)).toBe(true);
    expect(other.asked).toBe(0);
  });

  it("follows a redirect at the same origin", async () => {
    await using world = await openWorld();
    await using server = await openListServer((response, url) =>
      url === "/CUSTOMERS"
        ? text("", 301, { location: "/main/CUSTOMERS" })(response)
        : text("alice")(response),
    );
    expect(await (await world.open(server.source)).isAllowed(ALICE)).toBe(true);
  });

  it("is not known where there never was a list, and neither nobody nor everybody", async () => {
    await using world = await openWorld();
    await using server = await openListServer(text("*", 503));
    const owners = await world.open(server.source);
    await expect(owners.isAllowed(ALICE)).rejects.toMatchObject({
      kind: "platform-unavailable",
      message: expect.stringContaining("not known yet"),
    });
    await expect(owners.maySignIn({ instance: "github.com", owners: [ALICE] })).rejects.toMatchObject({
      kind: "platform-unavailable",
    });

    // Asked again after a pause, and not before.
    await expect(owners.isAllowed(ALICE)).rejects.toThrow();
    expect(server.asked).toBe(1);
    server.answerWith(text("alice"));
    world.advance(2_000);
    expect(await owners.isAllowed(ALICE)).toBe(true);
    expect(await owners.isAllowed(BOB)).toBe(false);
  });

  it("is asked for less and less often while it fails", async () => {
    await using world = await openWorld();
    await using server = await openListServer(text("", 500));
    const owners = await world.open(server.source);
    for (let second = 0; second < 60; second++) {
      await expect(owners.isAllowed(ALICE)).rejects.toThrow();
      world.advance(1_000);
    }
    // At 0, 2, 6, 14 and 30 seconds.
    expect(server.asked).toBe(5);
  });

  it("says what is wrong with the list, and no address", async () => {
    await using world = await openWorld();
    await using server = await openListServer(text("alice\n<html>"));
    const failure = await (await world.open(server.source)).isAllowed(ALICE).catch((error: Error) => error);
    expect(failure).toMatchObject({ message: expect.stringContaining("Line 2 of the list") });
    const missing = await (await world.open({ kind: "file", file: join(world.dir, "nowhere") }))
      .isAllowed(ALICE)
      .catch((error: Error) => error);
    expect(missing).toMatchObject({ message: expect.not.stringContaining(world.dir) });
  });

  it("is the last good list after a restart, while the new one cannot be read", async () => {
    await using world = await openWorld();
    await using server = await openListServer(text("alice"));
    expect(await (await world.open(server.source)).isAllowed(ALICE)).toBe(true);
    server.answerWith(text("", 500));
    const owners = await world.open(server.source);
    expect(await owners.isAllowed(ALICE)).toBe(true);
    expect(await owners.isAllowed(BOB)).toBe(false);
    expect(server.asked).toBe(2);
  });

  it("is not a list that was kept of another place", async () => {
    await using world = await openWorld();
    await using server = await openListServer(text("alice"));
    await (await world.open(server.source)).isAllowed(ALICE);
    server.answerWith(text("", 500));
    const elsewhere = await world.open({ kind: "url", url: `${server.origin}/other` });
    await expect(elsewhere.isAllowed(ALICE)).rejects.toThrow("not known yet");
    expect(await readFile(join(world.dir, "customers", "customers.json"), "utf8")).not.toContain(
      server.origin,
    );
  });

  it("is not a kept list that was damaged", async () => {
    await using world = await openWorld();
    await using server = await openListServer(text("", 500));
    await mkdir(join(world.dir, "customers"), { recursive: true });
    await writeFile(join(world.dir, "customers", "customers.json"), '{"source":');
    await expect((await world.open(server.source)).isAllowed(ALICE)).rejects.toThrow("not known yet");
  });
});

describe("who may sign in", () => {
  it("is whoever has an owner on the list, the own account or an organisation", async () => {
    await using world = await openWorld();
    await using server = await openListServer(text("alice\ngithub.com/acme"));
    const owners = await world.open(server.source);
    const acme = { owner: { sourceId: "9", login: "Acme" } };
    expect(await owners.maySignIn({ instance: "github.com", owners: [ALICE] })).toBe(true);
    expect(await owners.maySignIn({ instance: "github.com", owners: [BOB, acme] })).toBe(true);
    expect(await owners.maySignIn({ instance: "github.com", owners: [BOB] })).toBe(false);
    expect(await owners.maySignIn({ instance: "gitlab.com", owners: [acme] })).toBe(false);
    expect(await owners.maySignIn({ instance: "github.com", owners: [] })).toBe(false);
  });

  it("is nobody who is no operator where there is no list", async () => {
    await using world = await openWorld();
    const owners = await world.open(undefined);
    expect(await owners.maySignIn({ instance: "github.com", owners: [ALICE] })).toBe(false);
  });

  it("is missed in the log before anybody asks", async () => {
    await using world = await openWorld();
    const told: string[] = [];
    await openAllowedOwners({
      source: { kind: "file", file: join(world.dir, "nowhere") },
      dir: join(world.dir, "customers"),
      logger: pino({ level: "warn" }, { write: (line) => void told.push(line) }),
    });
    expect(await eventually("it is told", () => told[0])).toContain("ENOENT");
  });
});
