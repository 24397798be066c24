import { createHmac } from "node:crypto";
import { join } from "node:path";
import { Writable } from "node:stream";
import { Secret } from "@openfaas-cloud/shared/env.ts";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import type { AuditEvent, AuditReceiver } from "../src/ports/audit-sink/audit-sink.ts";
import { openLogReceiver } from "../src/ports/audit-sink/log.ts";
import { openSlackReceiver } from "../src/ports/audit-sink/slack.ts";
import { openStoreAuditSink } from "../src/ports/audit-sink/store.ts";
import { openAuditTrail } from "../src/ports/audit-sink/trail.ts";
import { openWebhookReceiver } from "../src/ports/audit-sink/webhook.ts";
import { openSqliteStore } from "../src/ports/store/sqlite.ts";
import { openRecorder } from "./support/recorder.ts";

const EVENT: AuditEvent = {
  actor: "github.com:583231",
  action: "secret.set",
  object: "alice/db-password",
  result: "set",
  ownerId: "owner-a",
};
const silent = pino({ level: "silent" });

describe("receivers of audit events", () => {
  const SECRET = "secret-of-the-audit-webhook";

  async function openTrail(receivers: readonly AuditReceiver[]) {
    const stack = new AsyncDisposableStack();
    const dir = stack.use(await temporaryFolder());
    const store = stack.adopt(await openSqliteStore(join(dir.path, "store.sqlite")), (it) => it.destroy());
    const openAgain = () => openAuditTrail({ store, receivers, logger: silent, pollMs: 20, firstPauseMs: 5 });
    return { store, openAgain, [Symbol.asyncDispose]: () => stack.disposeAsync() };
  }

  const idsOf = ({ body }: { readonly body: string }) =>
    (JSON.parse(body) as { events: { id: number }[] }).events.map(({ id }) => id);

  it("are posted every event, signed over the bytes of the body", async () => {
    await using server = await openRecorder();
    await using webhook = openWebhookReceiver({ url: server.url, secret: new Secret(SECRET) });
    await using it = await openTrail([webhook]);
    await using trail = await it.openAgain();
    await trail.append({ ...EVENT, address: "192.0.2.7", details: { from: "a", to: "b" } });
    const posted = await eventually("the event is posted", () => server.received[0]);
    const [row] = await it.store.selectFrom("audit_events").selectAll().execute();
    expect(JSON.parse(posted.body)).toEqual({
      kind: "events",
      events: [
        {
          ...EVENT,
          id: 1,
          at: row?.at,
          address: "192.0.2.7",
          details: { from: "a", to: "b" },
          hash: row?.hash,
        },
      ],
    });
    const signature = createHmac("sha256", SECRET).update(posted.body).digest("hex");
    expect(posted.headers).toMatchObject({
      "content-type": "application/json",
      "x-cloud-signature-256": `sha256=${signature}`,
    });
    await webhook.deliverHead("a.b.c", AbortSignal.timeout(5_000));
    expect(JSON.parse(server.received[1]?.body ?? "")).toEqual({ kind: "head", head: "a.b.c" });
  });

  it("are told what was kept, not what was rolled back", async () => {
    await using server = await openRecorder();
    await using webhook = openWebhookReceiver({ url: server.url, secret: new Secret(SECRET) });
    await using it = await openTrail([webhook]);
    await using trail = await it.openAgain();
    const failed = it.store.transaction().execute(async (transaction) => {
      await trail.append({ ...EVENT, result: "undone" }, transaction);
      throw new Error("no");
    });
    await expect(failed).rejects.toThrow();
    await it.store.transaction().execute((transaction) => trail.append(EVENT, transaction));
    const posted = await eventually("the event is posted", () => server.received[0]);
    expect(posted.body).not.toContain("undone");
    expect(idsOf(posted)).toEqual([1]);
  });

  it("that are down delay nobody, and are told everything in order once they are back, over a restart", async () => {
    await using server = await openRecorder();
    server.answerWith("never");
    await using webhook = openWebhookReceiver({ url: server.url, secret: new Secret(SECRET) });
    await using it = await openTrail([webhook]);
    {
      const trail = await it.openAgain();
      const began = performance.now();
      for (let i = 0; i < 150; i++) await trail.append(EVENT);
      await eventually("the webhook is asked", () => server.received.length > 0);
      expect(performance.now() - began).toBeLessThan(5_000);
      await trail[Symbol.asyncDispose]();
    }
    for (const status of [503, 404, 301]) {
      server.answerWith({ status, headers: { location: "/elsewhere" } });
      const asked = server.received.length;
      await using _ = await it.openAgain();
      await eventually(
        `the webhook is asked again after ${status}`,
        () => server.received.length > asked + 1,
      );
    }
    expect(server.received.every(({ url }) => url === "/hook")).toBe(true);
    const before = server.received.length;
    server.answerWith({ status: 204 });
    await using _ = await it.openAgain();
    const told = () => server.received.slice(before).flatMap(idsOf);
    await eventually("everything is told", () => told().length >= 150);
    expect(told()).toEqual(Array.from({ length: 150 }, (_, i) => i + 1));
    expect(Math.max(...server.received.map((one) => idsOf(one).length))).toBe(100);
  }, 60_000);

  it("are independent of each other", async () => {
    await using good = await openRecorder();
    await using bad = await openRecorder();
    bad.answerWith({ status: 500 });
    await using webhook = openWebhookReceiver({ url: bad.url, secret: new Secret(SECRET) });
    await using slack = openSlackReceiver({ url: good.url });
    await using it = await openTrail([webhook, slack]);
    await using trail = await it.openAgain();
    await trail.append(EVENT);
    await eventually("Slack is told", () => good.received.length === 1);
    await eventually("the webhook was asked", () => bad.received.length > 0);
  });

  it("that are new are told from then on", async () => {
    await using server = await openRecorder();
    await using slack = openSlackReceiver({ url: server.url });
    await using it = await openTrail([slack]);
    await openStoreAuditSink(it.store).append({ ...EVENT, result: "long ago" });
    await using trail = await it.openAgain();
    await trail.append({ ...EVENT, result: "now" });
    const posted = await eventually("Slack is told", () => server.received[0]);
    expect(posted.body).not.toContain("long ago");
  });

  it("get a line each in Slack, in the original's shape, with nothing to click or to be called by", async () => {
    await using server = await openRecorder();
    await using slack = openSlackReceiver({ url: server.url });
    await using it = await openTrail([slack]);
    await using trail = await it.openAgain();
    await trail.append(EVENT);
    const first = await eventually("Slack is told", () => server.received[0]);
    expect(JSON.parse(first.body)).toMatchObject({ text: "[secret.\u200bset] alice/db-password: 'set'" });
    await trail.append({
      ...EVENT,
      result: "<!channel> <https://evil.example|click> https://evil.example a&b\n[x] y: 'z'",
    });
    const second = await eventually("Slack is told again", () => server.received[1]);
    const { text } = JSON.parse(second.body) as { text: string };
    expect(text.split("\n")).toHaveLength(1);
    expect(text).not.toMatch(/[<>]|https:\/\/|evil\.example/);
    expect(text).toContain("&lt;!channel&gt;");
    expect(text).toContain("a&amp;b");
  });

  it("are the log too, one line of JSON for each event", async () => {
    const lines: string[] = [];
    const out = new Writable({ write: (chunk, _encoding, done) => done(void lines.push(String(chunk))) });
    await using it = await openTrail([openLogReceiver(pino({ base: null, level: "error" }, out))]);
    await using trail = await it.openAgain();
    await trail.append({ ...EVENT, result: 'a"\n{"level":30,"audit":{}}' });
    const line = await eventually("the line is there", () => lines[0]);
    expect(line.trimEnd().split("\n")).toHaveLength(1);
    expect(JSON.parse(line)).toMatchObject({
      msg: "audit",
      audit: { id: 1, actor: EVENT.actor, result: 'a"\\n{"level":30,"audit":{}}' },
    });
  });
});
