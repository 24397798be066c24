import { spawn } from "node:child_process";
import { createHmac, randomUUID } from "node:crypto";
import { once } from "node:events";
import { Agent, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { must } from "@openfaas-cloud/shared/must.ts";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { Random } from "../../edge/test/goals/support/random.ts";
import { SEED, size } from "../../edge/test/goals/support/size.ts";
import { eventually } from "../../test/support/eventually.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { registry } from "../src/metrics.ts";
import type { RemoteHost } from "../src/ports/source-host/remote-host.ts";
import { openSqliteStore } from "../src/ports/store/sqlite.ts";
import type { BodyLimits } from "../src/webhooks/delivery-bodies.ts";
import { openDeliveryReceiver } from "../src/webhooks/receive.ts";
import { type DeliveryAnswer, type Sending, sendDelivery } from "./support/delivery-client.ts";
import { commitOf, ScriptedHost, SIGNATURE } from "./support/scripted-host.ts";

const MIB = 1024 * 1024;

async function openReceiver(hosts: readonly RemoteHost[], limits: Partial<BodyLimits> = {}) {
  const stack = new AsyncDisposableStack();
  const dir = stack.use(await temporaryFolder());
  const store = stack.adopt(await openSqliteStore(join(dir.path, "store.sqlite")), (it) => it.destroy());
  const stored: number[] = [];
  const receiver = openDeliveryReceiver({
    store,
    hosts: { remote: hosts },
    onStored: () => stored.push(Date.now()),
    dashboardUrl: "/dashboard/",
    logger: pino({ level: "silent" }),
    limits,
  });
  const server = createServer({ requestTimeout: 0 }, (request, response) => {
    void receiver.handle(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  stack.defer(() => void server.close());
  stack.defer(() => server.closeAllConnections());
  const agent = new Agent({ keepAlive: true, maxSockets: 100 });
  stack.defer(() => agent.destroy());
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    store,
    stored,
    send: (path: string, sending: Sending) => sendDelivery(`${base}${path}`, sending, agent),
    rows: () => store.selectFrom("deliveries").selectAll().orderBy("id").execute(),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

type Receiver = Awaited<ReturnType<typeof openReceiver>>;

const PUSH = {
  kind: "push",
  repository: "1",
  branch: "main",
  before: undefined,
  commit: commitOf(1),
} as const;

function deliver(it: Receiver, host: ScriptedHost, id: string | undefined): Promise<DeliveryAnswer> {
  const { body, headers } = host.deliver(PUSH, id);
  return it.send("/github-event", { headers, pieces: [body] });
}

async function counted(answer: string): Promise<number> {
  const metric = await registry.getSingleMetric("ofc_deliveries_received_total")?.get();
  const values = metric?.values.filter(({ labels }) => labels["answer"] === answer) ?? [];
  return values.reduce((sum, { value }) => sum + value, 0);
}

describe("a delivery", () => {
  it("that is authentic is on the disk, as it came, when it is answered 202", async () => {
    const host = new ScriptedHost();
    await using it = await openReceiver([host]);
    const answer = await deliver(it, host, "one");
    expect(answer).toMatchObject({
      status: 202,
      headers: { "content-type": expect.stringContaining("json") },
    });
    const [row, ...others] = await it.rows();
    expect(others).toEqual([]);
    expect(JSON.parse(answer.body)).toEqual({ result: "stored", delivery: row?.id });
    expect(row).toMatchObject({
      instance: "github.test",
      delivery_id: "one",
      event: "push",
      state: "stored",
      attempts: 0,
    });
    expect(gunzipSync(must(row?.body, "the body"))).toEqual(host.deliver(PUSH, "one").body);
    expect(it.stored).toHaveLength(1);
    expect(host.asked.parse).toBe(0);
  });

  it("D18: that comes three times at once is stored once, and answered 202 three times", async () => {
    const host = new ScriptedHost();
    await using it = await openReceiver([host]);
    const answers = await Promise.all([1, 2, 3].map(() => deliver(it, host, "same")));
    expect(answers.map(({ status }) => status)).toEqual([202, 202, 202]);
    expect(answers.filter(({ body }) => body.includes("stored before"))).toHaveLength(2);
    expect(await it.rows()).toHaveLength(1);
    expect(it.stored).toHaveLength(1);
  });

  it("without an id is never taken for another, whatever its bytes", async () => {
    const host = new ScriptedHost();
    await using it = await openReceiver([host]);
    await deliver(it, host, undefined);
    await deliver(it, host, undefined);
    expect(await it.rows()).toHaveLength(2);
  });

  it("that failed is taken up again when it is sent again", async () => {
    const host = new ScriptedHost();
    await using it = await openReceiver([host]);
    await deliver(it, host, "one");
    const failed = { state: "failed", body: null, attempts: 9, result: "No answer.", done_at: 1 } as const;
    await it.store.updateTable("deliveries").set(failed).execute();
    expect((await deliver(it, host, "one")).body).toContain('"stored"');
    expect(await it.rows()).toMatchObject([{ state: "stored", attempts: 0, result: null, done_at: null }]);
    expect(it.stored).toHaveLength(2);
  });

  it("is of the host whose secret signed it, among several of one kind", async () => {
    const hosts = ["a", "b"].map(
      (name) => new ScriptedHost({ instance: `${name}.test`, kind: "gitlab", secret: `secret of ${name}` }),
    );
    await using it = await openReceiver(hosts);
    for (const host of hosts.toReversed()) {
      const { body, headers } = host.deliver(PUSH, "same");
      expect(await it.send("/gitlab-event", { headers, pieces: [body] })).toMatchObject({ status: 202 });
    }
    expect((await it.rows()).map(({ instance }) => instance).toSorted()).toEqual(["a.test", "b.test"]);
  });

  it("is not taken at the address of another kind of host", async () => {
    const host = new ScriptedHost();
    await using it = await openReceiver([
      host,
      new ScriptedHost({ kind: "bitbucket-datacenter", secret: "b" }),
    ]);
    const { body, headers } = host.deliver(PUSH, "one");
    expect(await it.send("/bitbucket-event", { headers, pieces: [body] })).toMatchObject({ status: 401 });
    expect(await it.send("/gitlab-event", { headers, pieces: [body] })).toMatchObject({ status: 404 });
    expect(await it.rows()).toEqual([]);
  });

  it("D16: that is signed by SHA-1 alone is refused with 401", async () => {
    const host = new ScriptedHost();
    await using it = await openReceiver([host]);
    const before = await counted("not-authentic");
    const { body } = host.deliver(PUSH, "one");
    const headers = {
      "x-hub-signature": `sha1=${createHmac("sha1", host.secret).update(body).digest("hex")}`,
    };
    const answer = await it.send("/github-event", { headers, pieces: [body] });
    expect(answer).toMatchObject({ status: 401, body: expect.stringContaining("is not signed") });
    expect(await counted("not-authentic")).toBe(before + 1);
    expect(await it.rows()).toEqual([]);
  });

  it("D17: whose body was written anew is refused with 401", async () => {
    const host = new ScriptedHost();
    await using it = await openReceiver([host]);
    const { body, headers } = host.deliver(PUSH, "one");
    const pieces = [Buffer.from(JSON.stringify(JSON.parse(body.toString()), undefined, 1))];
    expect(await it.send("/github-event", { headers, pieces })).toMatchObject({ status: 401 });
    expect(await it.rows()).toEqual([]);
  });

  it("that cannot be stored is answered 503, so that the host sends it again", async () => {
    const host = new ScriptedHost();
    await using it = await openReceiver([host]);
    await it.store.schema.alterTable("deliveries").renameTo("gone").execute();
    const answer = await deliver(it, host, "one");
    expect(answer).toMatchObject({ status: 503, headers: { "retry-after": "30" } });
    expect(it.stored).toEqual([]);
    await it.store.schema.alterTable("gone").renameTo("deliveries").execute();
    expect(await deliver(it, host, "one")).toMatchObject({ status: 202 });
  });

  it("may have 25 MiB and not a byte more, with its length said before or not", async () => {
    const host = new ScriptedHost();
    await using it = await openReceiver([host]);
    const most = Buffer.alloc(25 * MIB, "x");
    const tooMuch = Buffer.concat([most, Buffer.from("x")]);
    const headers = (body: Buffer) => ({ [SIGNATURE]: host.sign(body), "x-event": "push" });
    const pieces = (body: Buffer) => [body.subarray(0, 10 * MIB), body.subarray(10 * MIB)];
    for (const body of [most, tooMuch]) {
      const status = body === most ? 202 : 413;
      const length = { "content-length": String(body.length) };
      const whole = await it.send("/github-event", {
        headers: { ...headers(body), ...length },
        pieces: pieces(body),
      });
      const chunked = await it.send("/github-event", { headers: headers(body), pieces: pieces(body) });
      expect([whole.status, chunked.status]).toEqual([status, status]);
      if (status === 413) expect(chunked.headers["connection"]).toBe("close");
    }
    const lengths = (await it.rows()).map(({ body }) => gunzipSync(must(body, "the body")).length);
    expect(lengths).toEqual([25 * MIB, 25 * MIB]);
  });

  it("that is too slow is answered 408, and the connection closed", async () => {
    const host = new ScriptedHost();
    await using it = await openReceiver([host], { readMs: 100 });
    const { body, headers } = host.deliver(PUSH, "one");
    const pieces = Array.from(body, (byte) => Buffer.from([byte]));
    const answer = await it.send("/github-event", { headers, pieces, pauseMs: 10 });
    expect(answer).toMatchObject({ status: 408, headers: { connection: "close" } });
    expect(await it.rows()).toEqual([]);
  });

  it("with an encoding of its body is refused with 415, however it is signed", async () => {
    const host = new ScriptedHost();
    await using it = await openReceiver([host]);
    const plain = host.deliver(PUSH, "one");
    const body = gzipSync(plain.body);
    for (const signed of [body, plain.body]) {
      const headers = { ...plain.headers, [SIGNATURE]: host.sign(signed), "content-encoding": "gzip" };
      expect(await it.send("/github-event", { headers, pieces: [body] })).toMatchObject({ status: 415 });
    }
    expect(await it.rows()).toEqual([]);
  });

  it("that is large is told to come back while large ones are held that make up the limit", async () => {
    const host = new ScriptedHost();
    const limits = { maxBytes: 100_000, largeBytes: 1_000, maxLargeBodies: 3, maxLargeInMemory: 2 };
    await using it = await openReceiver([host], limits);
    const { sending, release } = heldBack(host, 99_000);
    const held = [1, 2, 3].map(() => it.send("/github-event", sending));
    const large = { headers: sending.headers, pieces: [Buffer.alloc(99_000, "x")] };
    // One more than may be in memory is taken in, and waits.
    const busy = await eventually("three are taken in", async () => {
      const answer = await it.send("/github-event", large);
      return answer.status === 503 ? answer : undefined;
    });
    expect(busy).toMatchObject({ headers: { "retry-after": "5" }, body: expect.stringContaining("at once") });
    expect(await deliver(it, host, "a small one")).toMatchObject({ status: 202 });
    release();
    expect((await Promise.all(held)).map(({ status }) => status)).toEqual([202, 202, 202]);
    expect(await it.send("/github-event", large)).toMatchObject({ status: 202 });
  });

  it("takes the place of the one that arrives for the longest, where more arrive at once than may", async () => {
    const host = new ScriptedHost();
    await using it = await openReceiver([host], { maxBodies: 2 });
    const { sending, release } = heldBack(host, 100);
    const answers: number[] = [];
    const slow = Array.from({ length: 6 }, async () => {
      const { status } = await it.send("/github-event", sending);
      answers.push(status);
    });
    await eventually("four gave way", () => answers.length === 4);
    expect(await deliver(it, host, "honest")).toMatchObject({ status: 202 });
    release();
    await Promise.all(slow);
    expect(answers.toSorted()).toEqual([202, 503, 503, 503, 503, 503]);
  });

  it("that breaks off in the middle leaves nothing, and holds nothing up", async () => {
    const host = new ScriptedHost();
    await using it = await openReceiver([host], { maxBodies: 1 });
    for (let times = 0; times < 3; times++) {
      const broken = it.send("/github-event", {
        headers: host.deliver(PUSH, "one").headers,
        pieces: (async function* () {
          yield Buffer.from("{");
          throw new Error("the sender is gone");
        })(),
      });
      await expect(broken).rejects.toThrow();
    }
    await eventually("it is let go", async () => (await deliver(it, host, "two")).status === 202);
    expect(await it.rows()).toMatchObject([{ delivery_id: "two" }]);
  });
});

/** An authentic delivery of this length whose last byte is only sent on `release`. */
function heldBack(host: ScriptedHost, length: number) {
  const body = Buffer.alloc(length, "x");
  const { promise, resolve } = Promise.withResolvers<void>();
  const sending = {
    headers: { [SIGNATURE]: host.sign(body), "x-event": "push" },
    pieces: {
      async *[Symbol.asyncIterator]() {
        yield body.subarray(0, -1);
        await promise;
        yield body.subarray(-1);
      },
    },
  };
  return { sending, release: resolve };
}

describe("what is no delivery", () => {
  it("is answered 405 with what may be sent", async () => {
    await using it = await openReceiver([new ScriptedHost()]);
    for (const method of ["GET", "PUT", "DELETE"]) {
      const answer = await it.send("/github-event", { method, headers: {}, pieces: [] });
      expect(answer).toMatchObject({ status: 405, headers: { allow: "POST" } });
    }
  });

  it("leads who comes back from installing the GitHub App to the dashboard", async () => {
    await using it = await openReceiver([]);
    const target = "/github-event?installation_id=1&setup_action=install";
    const answer = await it.send(target, { method: "GET", headers: {}, pieces: [] });
    expect(answer).toMatchObject({ status: 303, headers: { location: "/dashboard/" } });
  });
});

/** One of the ways in which a delivery is forged, broken, or fine. */
type Variant = (
  random: Random,
  host: ScriptedHost,
  body: Buffer,
) => Omit<Sending, "pieces"> & { readonly pieces?: readonly Buffer[]; readonly status: number };

const signed = (host: ScriptedHost, body: Buffer) => ({ [SIGNATURE]: host.sign(body), "x-event": "push" });
const forgedBy =
  (change: (signature: string, random: Random) => string): Variant =>
  (random, host, body) => ({
    headers: { ...signed(host, body), [SIGNATURE]: change(host.sign(body), random) },
    status: 401,
  });

const VARIANTS: Readonly<Record<string, Variant>> = {
  authentic: (_, host, body) => ({ headers: signed(host, body), status: 202 }),
  "authentic in pieces": (random, host, body) => ({
    headers: signed(host, body),
    pieces: inPieces(body, random),
    status: 202,
  }),
  "authentic with its length": (random, host, body) => ({
    headers: { ...signed(host, body), "content-length": String(body.length) },
    pieces: inPieces(body, random),
    status: 202,
  }),
  "authentic with an odd charset": (_, host, body) => ({
    headers: { ...signed(host, body), "content-type": "application/json; charset=utf-16" },
    status: 202,
  }),
  "authentic with identity encoding": (_, host, body) => ({
    headers: { ...signed(host, body), "content-encoding": "identity" },
    status: 202,
  }),
  unsigned: () => ({ headers: { "x-event": "push" }, status: 401 }),
  "SHA-1 only": (_, host, body) => ({
    headers: { "x-hub-signature": `sha1=${createHmac("sha1", host.secret).update(body).digest("hex")}` },
    status: 401,
  }),
  "upper case": forgedBy((signature) => `sha256=${signature.slice(7).toUpperCase()}`),
  "prefix in upper case": forgedBy((signature) => signature.replace("sha256", "SHA256")),
  "no prefix": forgedBy((signature) => signature.slice(7)),
  truncated: forgedBy((signature, random) => signature.slice(0, random.between(0, signature.length))),
  padded: forgedBy((signature, random) => signature + random.pick(["0", "00", "=", ";", ",", "\t.", "ff"])),
  "a digit changed": forgedBy((signature, random) => {
    const at = random.between(7, signature.length);
    const other = signature[at] === "0" ? "1" : "0";
    return signature.slice(0, at) + other + signature.slice(at + 1);
  }),
  "two signatures": (random, host, body) => ({
    headers: {
      "x-event": "push",
      [SIGNATURE]: random.shuffled([host.sign(body), `sha256=${"0".repeat(64)}`]),
    },
    status: 401,
  }),
  "the same signature twice": (_, host, body) => ({
    headers: { "x-event": "push", [SIGNATURE]: [host.sign(body), host.sign(body)] },
    status: 401,
  }),
  "another secret": (random, _host, body) => ({
    headers: signed(new ScriptedHost({ secret: random.word(20) }), body),
    status: 401,
  }),
  "body written anew": (_, host, body) => ({
    headers: signed(host, body),
    pieces: [Buffer.from(JSON.stringify(JSON.parse(body.toString()), undefined, 2))],
    status: 401,
  }),
  "another charset": (_, host, body) => ({
    headers: { ...signed(host, body), "content-type": "application/json; charset=utf-16" },
    pieces: [Buffer.from(body.toString(), "utf16le")],
    status: 401,
  }),
  "a byte more": (_, host, body) => ({
    headers: signed(host, body),
    pieces: [body, Buffer.from("\n")],
    status: 401,
  }),
  "a byte less": (_, host, body) => ({
    headers: signed(host, body),
    pieces: [body.subarray(0, -1)],
    status: 401,
  }),
  gzip: (random, host, body) => ({
    headers: {
      ...signed(host, random.chance(0.5) ? body : gzipSync(body)),
      "content-encoding": random.pick(["gzip", "GZIP", "br", "gzip, identity", "deflate"]),
    },
    pieces: [gzipSync(body)],
    status: 415,
  }),
};

/** These take their time, so that there are a few of each. */
const HEAVY: Readonly<Record<string, Variant>> = {
  "25 MiB less a byte": (_, host) => heavy(host, 25 * MIB - 1, 202),
  "25 MiB": (_, host) => heavy(host, 25 * MIB, 202),
  "25 MiB and a byte": (_, host) => heavy(host, 25 * MIB + 1, 413),
  "25 MiB and a byte, forged": (_, host) => ({ ...heavy(host, 25 * MIB + 1, 413), headers: {} }),
};

function heavy(host: ScriptedHost, length: number, status: number): ReturnType<Variant> {
  const body = Buffer.alloc(length, " ");
  return { headers: signed(host, body), pieces: inBlocks(body, MIB), status };
}

function inPieces(body: Buffer, random: Random): Buffer[] {
  const cuts = Array.from({ length: random.between(0, 4) }, () => random.between(0, body.length));
  const bounds = [0, ...cuts.toSorted((a, b) => a - b), body.length];
  return bounds.slice(1).map((end, i) => body.subarray(bounds[i], end));
}

function inBlocks(body: Buffer, length: number): Buffer[] {
  return Array.from({ length: Math.ceil(body.length / length) }, (_, i) =>
    body.subarray(i * length, (i + 1) * length),
  );
}

describe("G16: of all that claims to be a delivery", () => {
  it("exactly what is authentic is kept, and nothing else is looked into", async () => {
    const random = new Random(SEED);
    const host = new ScriptedHost();
    await using it = await openReceiver([new ScriptedHost({ secret: "of another host" }), host]);
    const names = Object.keys(VARIANTS);
    const cases = Array.from({ length: size(2_000, 20_000) }, (_, number) => {
      const body = Buffer.from(
        JSON.stringify({ ...PUSH, ref: `refs/heads/ümläut-${random.word(5)}`, number }),
      );
      const name = names[number % names.length] ?? "";
      return { id: `case ${number}`, name, body, ...must(VARIANTS[name], name)(random, host, body) };
    });
    const wrong: string[] = [];
    const times: number[] = [];
    const commits: number[] = [];
    await inParallel(
      random.shuffled(cases),
      8,
      async ({ id, name, body, status, pieces = [body], ...rest }) => {
        const headers = { ...rest.headers, "x-delivery": id };
        const answer = await it.send("/github-event", { ...rest, headers, pieces });
        times.push(answer.ms);
        if (times.length % 10 === 0) commits.push(await commitTime(it));
        if (answer.status !== status) wrong.push(`${id} (${name}): ${answer.status} instead of ${status}`);
      },
    );
    const expected = cases.filter(({ status }) => status === 202).map(({ id }) => id);
    const kept = (await it.rows()).map(({ delivery_id }) => delivery_id);
    expect({ seed: SEED, wrong }).toEqual({ seed: SEED, wrong: [] });
    expect(kept.toSorted()).toEqual(expected.toSorted());
    expect(it.stored).toHaveLength(expected.length);
    expect(host.asked).toEqual({ parse: 0, facts: 0, head: 0 });
    expect(await it.store.selectFrom("audit_events").selectAll().execute()).toEqual([]);
    expect(await it.store.selectFrom("runs").selectAll().execute()).toEqual([]);
    // A disk that others keep busy is no fault of the receiver: each answer stands behind a few commits of others.
    expect(percentile(times, 99)).toBeLessThan(Math.max(250, 8 * percentile(commits, 99)));
    expect(percentile(times, 100)).toBeLessThan(5_000);
  });

  it("what is as large as may be is kept, and what is larger is not", async () => {
    const host = new ScriptedHost();
    await using it = await openReceiver([host]);
    const random = new Random(SEED);
    for (const [name, variant] of Object.entries(HEAVY)) {
      const { status, pieces = [], ...rest } = variant(random, host, Buffer.alloc(0));
      const answer = await it.send("/github-event", { ...rest, pieces });
      expect({ name, status: answer.status }).toEqual({ name, status });
      expect(answer.ms).toBeLessThan(5_000);
    }
    expect(await it.rows()).toHaveLength(2);
  });
});

describe("G16: slow ones", () => {
  it("are ended in time, forged or not, and hold nobody up", async () => {
    const host = new ScriptedHost();
    await using it = await openReceiver([host], { readMs: 500 });
    const { body, headers } = host.deliver(PUSH, "one");
    const forged = { ...headers, [SIGNATURE]: `sha256=${"0".repeat(64)}` };
    const drip = { pieces: Array.from(body, (byte) => Buffer.from([byte])), pauseMs: 20 };
    const since = performance.now();
    const slow = Array.from({ length: 40 }, (_, n) =>
      it.send("/github-event", { ...drip, headers: n % 2 === 0 ? headers : forged }),
    );
    expect(await deliver(it, host, "honest")).toMatchObject({ status: 202 });
    expect(new Set((await Promise.all(slow)).map(({ status }) => status))).toEqual(new Set([408]));
    expect(performance.now() - since).toBeLessThan(5_000);
    expect(await it.rows()).toHaveLength(1);
  });
});

describe("G16: eight deliveries of 25 MiB at once", () => {
  it("are held in the memory that they take, and 32 MiB at most beside", async () => {
    await using receiver = await openReceiverProcess();
    const host = new ScriptedHost();
    const agent = new Agent({ keepAlive: true });
    const url = `http://127.0.0.1:${receiver.port}/github-event`;
    const block = Buffer.alloc(MIB, "x");
    const signature = createHmac("sha256", host.secret);
    for (let blocks = 0; blocks < 25; blocks++) signature.update(block);
    const authentic = `sha256=${signature.digest("hex")}`;
    const small = host.deliver(PUSH, undefined);
    for (let warm = 0; warm < 50; warm++)
      await sendDelivery(url, { headers: small.headers, pieces: [small.body] }, agent);
    const before = await receiver.memory();

    const send = (headers: Record<string, string>) => {
      const pieces = Array.from({ length: 25 }, () => block);
      return sendDelivery(url, { headers: { ...headers, "x-event": "push" }, pieces }, agent);
    };
    const answers = Array.from({ length: 8 }, (_, n) => {
      const length: Record<string, string> = n < 4 ? { "content-length": String(25 * MIB) } : {};
      return send({ ...length, [SIGNATURE]: n % 2 === 0 ? authentic : authentic.replace(/.$/, "z") });
    });
    const statuses = (await Promise.all(answers)).map(({ status }) => status);
    expect(statuses).toEqual([202, 401, 202, 401, 202, 401, 202, 401]);
    const after = await receiver.memory();
    agent.destroy();
    expect((after.most - before.now) / 1024).toBeLessThan(8 * 25 + 32);
  });
});

async function openReceiverProcess() {
  const stack = new AsyncDisposableStack();
  const dir = stack.use(await temporaryFolder());
  const program = fileURLToPath(new URL("support/receiver-process.ts", import.meta.url));
  const child = spawn(process.execPath, [program, join(dir.path, "store.sqlite")], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  stack.defer(async () => {
    child.stdin.end();
    if (child.exitCode === null) await once(child, "exit");
  });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const next = async () => must((await lines.next()).value, "a line of the receiver's process");
  return {
    port: Number(await next()),
    async memory(): Promise<{ readonly now: number; readonly most: number }> {
      child.stdin.write("\n");
      return JSON.parse(await next()) as { now: number; most: number };
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function commitTime({ store }: Receiver): Promise<number> {
  const since = performance.now();
  await store.insertInto("meta").values({ key: randomUUID(), value: "" }).execute();
  return performance.now() - since;
}

function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return must(sorted[Math.ceil((sorted.length * percent) / 100) - 1], "one value at least");
}

async function inParallel<T>(items: readonly T[], lanes: number, work: (item: T) => Promise<void>) {
  const rest = [...items];
  const lane = async () => {
    for (let item = rest.pop(); item !== undefined; item = rest.pop()) await work(item);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}
