import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, createServer as createTcpServer, type Server } from "node:net";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import { part } from "../../test/support/parts.ts";
import { type HostClient, type HostRequest, openHostClient } from "../src/ports/source-host/host-client.ts";
import { HostUnavailable } from "../src/ports/source-host/host-errors.ts";
import { selfSignedCertificate } from "./support/certificate.ts";

interface Seen {
  readonly method: string;
  readonly at: number;
}

interface Setup extends AsyncDisposable {
  readonly client: HostClient;
  readonly url: string;
  readonly seen: Seen[];
  ask(request?: Partial<HostRequest>): ReturnType<HostClient["send"]>;
}

/** A host that answers with these, one after the other, the last one again and again. */
async function start(
  answers: readonly RequestListener[],
  options: { tryMs?: number; firstPauseMs?: number } = {},
): Promise<Setup> {
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    const answer = answers[Math.min(seen.length, answers.length - 1)];
    seen.push({ method: request.method ?? "", at: performance.now() });
    answer?.(request, response);
  });
  const url = await listen(server);
  const client = openHostClient({ title: "The host", tryMs: 500, firstPauseMs: 5, ...options });
  return {
    client,
    url,
    seen,
    ask: (request) =>
      client.send({ method: "GET", url: `${url}/x`, signal: new AbortController().signal, ...request }),
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function listen(server: Server, scheme = "http"): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const says =
  (status: number, headers: Record<string, string> = {}, body = "{}"): RequestListener =>
  (_request, response) => {
    response.writeHead(status, headers).end(body);
  };
const hangs: RequestListener = () => undefined;
const breaksOff: RequestListener = (request) => {
  request.resume();
  request.once("end", () => request.socket.destroy());
};

describe("a call to a source host", () => {
  for (const status of [200, 201, 204, 301, 302, 307, 400, 401, 403, 404, 409, 410, 422]) {
    test(`that is answered with ${status} gives the answer, and is not repeated`, async () => {
      await using it = await start([
        says(status, { location: "/elsewhere", etag: "x" }, status === 204 ? "" : "text"),
      ]);
      const answer = await it.ask();
      expect(answer.status).toBe(status);
      expect(answer.headers.get("etag")).toBe("x");
      expect(answer.text).toBe(status === 204 ? "" : "text");
      expect(it.seen).toHaveLength(1);
    });
  }

  test("is tried again where it failed, and says so where that does not help", async () => {
    await using recovered = await start([says(502), says(500), says(200)]);
    expect((await recovered.ask()).status).toBe(200);
    await using failing = await start([says(500)]);
    await expect(failing.ask()).rejects.toMatchObject({ name: "KnownError", status: 500 });
    expect(failing.seen).toHaveLength(3);
  });

  test("ends within its deadline where there is no answer, or half of one", async () => {
    const half: RequestListener = (_request, response) => {
      response.writeHead(200, { "content-length": "10" }).write("{");
    };
    for (const answer of [hangs, half]) {
      await using it = await start([answer], { tryMs: 100 });
      const began = performance.now();
      await expect(it.ask()).rejects.toBeInstanceOf(HostUnavailable);
      expect(performance.now() - began).toBeLessThan(3000);
      expect(it.seen).toHaveLength(3);
    }
  });

  test("ends at once, and with the asker's reason, where the asker gives up", async () => {
    const reason = new Error("no longer of interest");
    for (const [answer, firstPauseMs] of [
      [hangs, 5],
      [says(500), 5000],
    ] as const) {
      await using it = await start([answer], { tryMs: 60_000, firstPauseMs });
      const controller = new AbortController();
      const asked = it.ask({ signal: controller.signal });
      await eventually("it was asked", () => it.seen.length === 1);
      controller.abort(reason);
      await expect(asked).rejects.toBe(reason);
    }
  });

  test("pauses longer from try to try, by half to one and a half times", async () => {
    const firstPauseMs = 30;
    for (let time = 0; time < 5; time++) {
      await using it = await start([says(500)], { firstPauseMs });
      await expect(it.ask()).rejects.toBeInstanceOf(HostUnavailable);
      const [first = 0, second = 0, third = 0] = it.seen.map(({ at }) => at);
      // Timers count whole milliseconds; how late they fire is the machine's business.
      expect(second - first).toBeGreaterThan(firstPauseMs / 2 - 2);
      expect(second - first).toBeLessThan(firstPauseMs * 1.5 + 500);
      expect(third - second).toBeGreaterThan(firstPauseMs * 2 - 2);
      expect(third - second).toBeLessThan(firstPauseMs * 6 + 500);
    }
  });

  test("waits as long as it is told to, in seconds or until a moment", async () => {
    // A date says whole seconds only.
    const inTwoSeconds = () => new Date(Date.now() + 2000).toUTCString();
    for (const [afterOf, leastMs] of [
      [() => "1", 990],
      [inTwoSeconds, 990],
    ] as const) {
      await using it = await start([
        (...asked) => says(429, { "retry-after": afterOf() })(...asked),
        says(200),
      ]);
      expect((await it.ask()).status).toBe(200);
      const [first = 0, second = 0] = it.seen.map((seen) => seen.at);
      expect(second - first).toBeGreaterThan(leastMs);
      expect(second - first).toBeLessThan(4000);
    }
  });

  const soon = String(Math.floor(Date.now() / 1000) + 900);
  const limits: Record<string, { answer: RequestListener; between: readonly [number, number] }> = {
    "for a long time": { answer: says(429, { "retry-after": "900" }), between: [900_000, 900_000] },
    "without saying how long": { answer: says(429), between: [60_000, 60_000] },
    "until GitHub's limit is renewed": {
      answer: says(403, { "x-ratelimit-remaining": "0", "x-ratelimit-reset": soon }),
      between: [800_000, 900_000],
    },
    "by GitHub's second limit": { answer: says(403, { "retry-after": "600" }), between: [600_000, 600_000] },
    "for maintenance": { answer: says(503, { "retry-after": "600" }), between: [600_000, 600_000] },
  };
  for (const [name, { answer, between }] of Object.entries(limits)) {
    test(`is not waited with where no more is taken ${name}, and says for how long`, async () => {
      await using it = await start([answer]);
      const error: unknown = await it.ask().catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(HostUnavailable);
      const { retryAfterMs = 0 } = error as HostUnavailable;
      expect(retryAfterMs).toBeGreaterThanOrEqual(between[0]);
      expect(retryAfterMs).toBeLessThanOrEqual(between[1]);
      expect(it.seen).toHaveLength(1);
    });
  }

  test("that does something is not sent again once it may have been done", async () => {
    for (const answer of [breaksOff, says(500), says(502), hangs]) {
      for (const method of ["POST", "PATCH"] as const) {
        await using it = await start([answer], { tryMs: 100 });
        await expect(it.ask({ method, body: "{}" })).rejects.toBeInstanceOf(HostUnavailable);
        expect(it.seen).toHaveLength(1);
      }
    }
  });

  test("that does something is sent again where it was refused before it was looked at", async () => {
    await using it = await start([says(429, { "retry-after": "0" }), says(201)]);
    expect((await it.ask({ method: "POST", body: "{}" })).status).toBe(201);
  });

  test("that may be done twice is sent again", async () => {
    for (const [method, isRepeatable] of [
      ["POST", true],
      ["PUT", false],
      ["DELETE", false],
    ] as const) {
      await using it = await start([breaksOff, says(200)]);
      expect((await it.ask({ method, isRepeatable })).status).toBe(200);
      expect(it.seen).toHaveLength(2);
    }
  });

  test("to a host that does not listen is tried again, whatever it does", async () => {
    const closed = createTcpServer();
    const url = await listen(closed);
    closed.close();
    await once(closed, "close");
    await using it = await start([hangs]);
    const asked = it.ask({ url, method: "POST", body: "{}" });
    await expect(asked).rejects.toMatchObject({ message: expect.stringContaining("ECONNREFUSED") });
  });

  test("takes no answer above 16 MiB, asked for once", async () => {
    const endless = (_request: IncomingMessage, response: ServerResponse) => {
      response.on("error", () => undefined);
      const chunk = Buffer.alloc(1024 * 1024, "x");
      const more = () => {
        while (!response.destroyed && response.write(chunk));
        if (!response.destroyed) response.once("drain", more);
      };
      more();
    };
    await using it = await start([endless], { tryMs: 20_000 });
    await expect(it.ask()).rejects.toBeInstanceOf(HostUnavailable);
    expect(it.seen).toHaveLength(1);
    await using large = await start([says(200, {}, "x".repeat(15 * 1024 * 1024))], { tryMs: 20_000 });
    expect((await large.ask()).text).toHaveLength(15 * 1024 * 1024);
  });

  test("takes no answer that is above 16 MiB once it is unpacked, asked for once", async () => {
    const packed = (mib: number): RequestListener => {
      const body = gzipSync(Buffer.alloc(mib * 1024 * 1024, "x"));
      return (_request, response) => void response.writeHead(200, { "content-encoding": "gzip" }).end(body);
    };
    await using it = await start([packed(17)], { tryMs: 20_000 });
    await expect(it.ask()).rejects.toBeInstanceOf(HostUnavailable);
    expect(it.seen).toHaveLength(1);
    await using large = await start([packed(15)], { tryMs: 20_000 });
    expect((await large.ask()).text).toHaveLength(15 * 1024 * 1024);
  });
});

part("openssl")("a call to a host with a certificate of its own", () => {
  test("trusts the certificate authority that it is given, and no other", async () => {
    const { cert, key } = await selfSignedCertificate();
    const server = createTlsServer({ cert, key }, says(200));
    const url = await listen(server, "https");
    const ask = async (ca: string | undefined) => {
      await using client = openHostClient({ title: "The host", ca, tryMs: 2000, firstPauseMs: 1 });
      return await client.send({ method: "GET", url, signal: new AbortController().signal });
    };
    try {
      expect((await ask(cert)).status).toBe(200);
      await expect(ask(undefined)).rejects.toMatchObject({ message: expect.stringMatching(/SELF_SIGNED/) });
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  });
});
