import { createHash, randomInt } from "node:crypto";
import { once } from "node:events";
import { rm, writeFile } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { part } from "../../test/support/parts.ts";
import { parseNetwork } from "../src/networks.ts";
import { parseCertificate } from "../src/tls/certificate.ts";
import { CertificateSet } from "../src/tls/certificate-set.ts";
import { HANDSHAKE_FAILURES, TlsListener } from "../src/tls/tls-listener.ts";
import {
  install,
  type KeyPair,
  makeCertificate,
  pem,
  type SecureClient,
  secureCall,
  secureClient,
  tlsConfig,
} from "./support/certificates.ts";
import { FeedServer, route } from "./support/feed-server.ts";
import { echo, RestartLoad } from "./support/restart-load.ts";
import {
  exchangeRaw,
  rawClient,
  type TempDirectory,
  type TestEdge,
  tempDirectory,
  testEdge,
  type Upstream,
  until,
  upstream,
} from "./support/servers.ts";

const REQUEST = "GET /f HTTP/1.1\r\nHost: alice.fn.test\r\n\r\n";

interface World extends AsyncDisposable {
  readonly fn: Upstream;
  readonly edge: TestEdge;
  readonly port: number;
  readonly directory: TempDirectory;
  readonly certificate: KeyPair;
  failures(reason: (typeof HANDSHAKE_FAILURES)[number]): Promise<number>;
  /** Of clients, handshakes included. */
  connections(): Promise<number>;
}

/** A function, `alice/f`, at an edge that serves https with a certificate for all functions. */
async function world(more: Parameters<typeof testEdge>[1] & { fn?: Promise<Upstream> } = {}): Promise<World> {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await tempDirectory());
  const certificate = await makeCertificate(["*.fn.test"]);
  await install(directory.path, "functions", certificate);
  const fn = stack.use(await (more.fn ?? upstream()));
  const feed = stack.use(await new FeedServer([route("alice/f", [fn.url])]).listen());
  const edge = stack.use(await testEdge(feed.origin, { tls: tlsConfig(directory.path), ...more }));
  const owned = stack.move();
  return {
    fn,
    edge,
    port: edge.tlsPort ?? 0,
    directory,
    certificate,
    failures: (reason) => edge.metric(`ofc_edge_tls_handshakes_failed_total{reason="${reason}"}`),
    connections: async () => {
      const counted = [
        'client_connections{lane="plain"}',
        'client_connections{lane="full"}',
        "tls_handshakes",
      ];
      const open = await Promise.all(counted.map((metric) => edge.metric(`ofc_edge_${metric}`)));
      return open.reduce((sum, count) => sum + count);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function shownTo(port: number, servername?: string): Promise<string> {
  using client = await secureClient(port, servername === undefined ? {} : { servername });
  return client.shown;
}

function websocketEcho(): Promise<Upstream> {
  return upstream(undefined, (request, socket) => {
    const accept = createHash("sha1")
      .update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest("base64");
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\nhello `,
    );
    socket.on("error", () => socket.destroy());
    socket.pipe(socket);
  });
}

part("openssl")("by https", () => {
  test("a function is called, hears that it was by https, and the next call comes on the same connection", async () => {
    await using here = await world();
    const answer = await secureCall(here.port, "alice.fn.test/f/x?a=1", here.certificate.chain);
    expect(answer.status).toBe(200);
    expect(here.fn.requests[0]).toMatchObject({
      url: "/x?a=1",
      headers: {
        "x-forwarded-proto": "https",
        "x-forwarded-for": "127.0.0.1",
        forwarded: 'for=127.0.0.1;host="alice.fn.test";proto=https',
      },
    });
    using client = await secureClient(here.port, { servername: "alice.fn.test" });
    for (const count of [1, 2, 3]) {
      client.socket.write(REQUEST);
      await until(() => client.text().split("HTTP/1.1 200").length - 1 === count, `answer ${count}`);
    }
    expect((await here.edge.call("alice.fn.test", "/f")).status).toBe(200);
    expect(here.fn.requests.at(-1)?.headers["x-forwarded-proto"]).toBe("http");
  });

  test("bodies go both ways whole, by length and by chunks", async () => {
    await using here = await world({
      fn: upstream((request, response) => void request.pipe(response)),
    });
    const body = Buffer.alloc(3_000_000, "0123456789");
    const trusted = here.certificate.chain;
    const sent = { method: "POST", body, headers: { "content-length": String(body.length) } };
    expect((await secureCall(here.port, "alice.fn.test/f", trusted, sent)).body).toBe(body.toString());
    const chunked = { method: "POST", body, headers: { "transfer-encoding": "chunked" } };
    expect((await secureCall(here.port, "alice.fn.test/f", trusted, chunked)).body).toBe(body.toString());
  });

  test("the certificate is the one for the name asked for, and the default for any other and for none", async () => {
    await using here = await world();
    const [exact, other] = [await makeCertificate(["bob.fn.test"]), await makeCertificate(["console.test"])];
    await install(here.directory.path, "exact", exact);
    await install(here.directory.path, "default", other);
    await until(async () => (await here.edge.metric("ofc_edge_tls_certificates")) === 3, "all of them");
    const wildcard = pem(here.certificate.chain);
    expect(await shownTo(here.port, "alice.fn.test")).toBe(wildcard);
    expect(await shownTo(here.port, "ALICE.FN.TEST")).toBe(wildcard);
    expect(await shownTo(here.port, "bob.fn.test")).toBe(pem(exact.chain));
    for (const name of ["a.bob.fn.test", "fn.test", "evil.test", "console.test", undefined]) {
      expect(await shownTo(here.port, name), name ?? "none").toBe(pem(other.chain));
    }
  });

  test("who is routed is decided by Host, whatever name the handshake asked for", async () => {
    await using here = await world();
    using client = await secureClient(here.port, { servername: "bob.fn.test" });
    client.socket.write(REQUEST);
    await until(() => client.text().includes("HTTP/1.1 200"), "the answer");
  });

  test("TLS 1.2 and 1.3 are spoken and nothing older, HTTP/1.1 and nothing newer", async () => {
    await using here = await world();
    for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
      using client = await secureClient(here.port, { minVersion: version, maxVersion: version });
      expect(client.socket.getProtocol()).toBe(version);
    }
    using both = await secureClient(here.port, { ALPNProtocols: ["h2", "http/1.1"] });
    expect(both.socket.alpnProtocol).toBe("http/1.1");
    const old = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" } as const;
    await expect(secureClient(here.port, old)).rejects.toThrow(/version/);
    await expect(secureClient(here.port, { ALPNProtocols: ["h2"] })).rejects.toThrow(/alpn|protocol/i);
    expect(await here.failures("version")).toBe(1);
    expect(await here.failures("alpn")).toBe(1);
  });

  test("a client that wants to negotiate anew is not obeyed", async () => {
    await using here = await world();
    using client = await secureClient(here.port, { maxVersion: "TLSv1.2" });
    const refused = new Promise<Error | null>((resolve) => {
      client.socket.once("error", resolve);
      client.socket.once("close", () => resolve(new Error("closed")));
      if (client.socket.renegotiate({}, resolve) === false) resolve(new Error("refused"));
    });
    expect(await refused).toBeInstanceOf(Error);
    expect((await secureCall(here.port, "alice.fn.test/f", here.certificate.chain)).status).toBe(200);
  });

  test("a session is resumed, also after the certificates were replaced", async () => {
    await using here = await world();
    let session: Buffer | undefined;
    const options = { servername: "alice.fn.test", maxVersion: "TLSv1.2" } as const;
    const connectOnce = async (): Promise<boolean> => {
      using client = await secureClient(here.port, session === undefined ? options : { ...options, session });
      client.socket.write(REQUEST);
      await until(() => client.text().includes("HTTP/1.1 200"), "the answer");
      session = client.socket.getSession();
      return client.socket.isSessionReused();
    };
    expect(await connectOnce()).toBe(false);
    expect(await connectOnce()).toBe(true);
    await install(here.directory.path, "more", await makeCertificate(["more.test"]));
    await until(async () => (await here.edge.metric("ofc_edge_tls_certificates")) === 2, "the new one");
    expect(await connectOnce()).toBe(true);
  });

  test("a WebSocket goes through, both ways, and ends with either side", async () => {
    await using here = await world({ fn: websocketEcho() });
    {
      using client = await secureClient(here.port, { servername: "alice.fn.test" });
      client.socket.write(
        "GET /f/room HTTP/1.1\r\nHost: alice.fn.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nearly ",
      );
      await until(() => client.text().endsWith("hello early "), "the function's first bytes");
      expect(client.text()).toMatch(/^HTTP\/1\.1 101 .*Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/s);
      client.socket.write("x".repeat(100_000));
      await until(() => client.text().endsWith("x".repeat(100_000)), "the echo");
    }
    await until(() => here.fn.sockets.size === 0, "the function's side to close");
    expect(here.fn.requests[0]?.headers).toMatchObject({
      upgrade: "websocket",
      "x-forwarded-proto": "https",
    });
  });

  test("what is malformed is refused and its connection closed, as by http", async () => {
    await using here = await world();
    using client = await secureClient(here.port);
    client.socket.write("GET /f HTTP/1.1\r\nHost: a@b\r\n\r\n");
    await client.closed;
    expect(client.text()).toMatch(/^HTTP\/1\.1 400 /);
    expect(here.fn.requests).toEqual([]);
  });
});

part("openssl")("certificates are replaced", () => {
  test("under load without a failed request, and connections that stand go on", async () => {
    await using here = await world({ fn: upstream(echo) });
    const renewals = await Promise.all(Array.from({ length: 5 }, () => makeCertificate(["*.fn.test"])));
    const trusted = [here.certificate, ...renewals].map(({ chain }) => chain);
    using standing = await secureClient(here.port, { servername: "alice.fn.test" });
    await using load = new RestartLoad(here.port, "alice.fn.test", trusted);
    for (const [i, renewal] of renewals.entries()) {
      const before = load.answeredMs.length;
      await install(here.directory.path, "functions", renewal);
      await until(
        async () => (await shownTo(here.port, "alice.fn.test")) === pem(renewal.chain),
        "the renewal",
        20_000,
      );
      await until(() => load.answeredMs.length > before + 50, "answers under it", 20_000);
      standing.socket.write(REQUEST);
      await until(
        () => standing.text().split("HTTP/1.1 200").length === i + 2,
        "the answer on the connection that stood",
      );
    }
    await load.end();
    expect(load.failures).toEqual([]);
    expect(here.fn.requests).toHaveLength(load.sent + renewals.length);
    expect(standing.shown).toBe(pem(here.certificate.chain));
  });

  test("but not by bad ones, which are counted", async () => {
    await using here = await world();
    const stranger = await makeCertificate(["*.fn.test"]);
    await install(here.directory.path, "functions", { ...here.certificate, key: stranger.key });
    const rejections = (): Promise<number> => here.edge.metric("ofc_edge_tls_rejections_total");
    await until(async () => (await rejections()) === 1, "the mismatch");
    await writeFile(join(here.directory.path, "functions.crt"), "garbage");
    await until(async () => (await rejections()) === 2, "the garbage");
    await rm(here.directory.path, { recursive: true });
    await until(async () => (await rejections()) === 3, "the missing directory");
    expect((await secureCall(here.port, "alice.fn.test/f", here.certificate.chain)).status).toBe(200);
    expect(await shownTo(here.port)).toBe(pem(here.certificate.chain));
    const expiresInDays =
      ((await here.edge.metric("ofc_edge_tls_soonest_expiry_seconds")) - Date.now() / 1000) / 86_400;
    expect(Math.round(expiresInDays)).toBe(30);
  });
});

part("openssl")("the port for https is not impressed", () => {
  test("by a client that speaks http to it", async () => {
    await using here = await world();
    expect(await exchangeRaw(here.port, REQUEST)).not.toContain("HTTP/1.1 200");
    expect(await here.failures("not-tls")).toBe(1);
    expect(here.fn.requests).toEqual([]);
  });

  test("by handshakes that do not begin, do not end, or come byte by byte", async () => {
    await using here = await world({ timeouts: { headersMs: 600 } });
    const hello = await clientHello();
    using silent = rawClient(here.port, "");
    using half = rawClient(here.port, hello.subarray(0, 40).toString("latin1"));
    using slow = rawClient(here.port, "");
    let at = 0;
    const drip = setInterval(() => slow.socket.write(hello.subarray(at, ++at)), 50);
    const startedMs = performance.now();
    const closed = Promise.all([silent.closed, half.closed, slow.closed]);
    await until(async () => (await here.edge.metric("ofc_edge_tls_handshakes")) === 3, "all three");
    await closed;
    clearInterval(drip);
    expect(performance.now() - startedMs).toBeGreaterThan(500);
    expect(performance.now() - startedMs).toBeLessThan(3_000);
    expect(await here.failures("timeout")).toBe(3);
    await until(async () => (await here.connections()) === 0, "nothing left");
  });

  test("by more handshakes than it has room for: the oldest has had its time", async () => {
    const { chain, key } = await makeCertificate(["*.fn.test"]);
    await using listener = new TlsListener({
      certificates: new CertificateSet([parseCertificate("functions", chain, key)]),
      handshakeMs: 10_000,
      maxHandshakes: 2,
      onConnection: (socket) => void socket.on("error", () => socket.destroy()),
      onSecure: (_socket, secure) => void secure.end("served"),
    });
    listener.server.listen(0, "127.0.0.1");
    await once(listener.server, "listening");
    const port = portOf(listener.server);
    using silent = rawClient(port, "");
    await until(() => listener.handshakes === 1, "the first");
    using half = rawClient(port, (await clientHello()).subarray(0, 40).toString("latin1"));
    await until(() => listener.handshakes === 2, "the second");
    using third = rawClient(port, "");
    await silent.closed;
    using client = await secureClient(port);
    await Promise.all([half.closed, client.closed]);
    expect(client.text()).toBe("served");
    expect(third.socket.destroyed).toBe(false);
    await until(() => listener.failures["crowded-out"] === 2, "both to be counted");
  });

  test("by a secure client that sends no request, or a request byte by byte", async () => {
    await using here = await world({ timeouts: { headersMs: 600 } });
    using silent = await secureClient(here.port);
    using slow = await secureClient(here.port);
    let at = 0;
    const drip = setInterval(() => slow.socket.write(REQUEST.slice(at, ++at)), 100);
    await Promise.all([silent.closed, slow.closed]);
    clearInterval(drip);
    expect(slow.text()).toMatch(/^HTTP\/1\.1 408 /);
  });

  test("by garbage, by halves of handshakes and by resets in the midst of them", async () => {
    await using here = await world();
    const hello = await clientHello();
    const garbage = (): Buffer => {
      const bytes = Buffer.from(hello.subarray(0, randomInt(1, hello.length)));
      for (let i = randomInt(4); i > 0; i--) bytes[randomInt(bytes.length)] = randomInt(256);
      return randomInt(3) === 0
        ? Buffer.from(Array.from({ length: randomInt(1, 99) }, () => randomInt(256)))
        : bytes;
    };
    for (let round = 0; round < 20; round++) {
      await Promise.all(
        Array.from({ length: 20 }, async (_, i) => {
          const bytes = garbage();
          const socket = connect(here.port, "127.0.0.1");
          socket.on("error", () => socket.destroy()).resume();
          const closed = new Promise((resolve) => socket.once("close", resolve));
          socket.write(bytes, () => (i % 2 === 0 ? socket.resetAndDestroy() : socket.end()));
          await closed;
        }),
      );
    }
    expect((await secureCall(here.port, "alice.fn.test/f", here.certificate.chain)).status).toBe(200);
    await until(async () => (await here.connections()) === 0, "nothing left");
    const counted = await Promise.all(HANDSHAKE_FAILURES.map((reason) => here.failures(reason)));
    // One that is reset before it was accepted is none.
    expect(counted.reduce((sum, count) => sum + count)).toBeGreaterThan(300);
  });

  test("by clients that leave right after the handshake, or in the midst of an answer", async () => {
    await using here = await world({
      fn: upstream((_request, response) => {
        response.write("half");
      }),
    });
    for (let i = 0; i < 20; i++) {
      await using relay = await relayTo(here.port);
      using client = await secureClient(relay.port);
      if (i % 2 === 0) {
        client.socket.write(REQUEST);
        await until(() => client.text().includes("half"), "half an answer");
      }
      relay.reset();
      await client.closed;
    }
    await until(() => here.fn.sockets.size === 0, "the function to be told");
    await until(async () => (await here.connections()) === 0, "nothing left");
  });
});

part("openssl")("an edge that goes", () => {
  test("finishes what came by https, and a handshake under way, which brings its one request", async () => {
    let finish: (() => void) | undefined;
    await using here = await world({
      drainMs: 10_000,
      fn: upstream((request, response) => {
        if (request.url === "/slow") finish = () => response.end("finished");
        else response.end("quick");
      }),
    });
    using client = await secureClient(here.port, { servername: "alice.fn.test" });
    client.socket.write(REQUEST.replace("/f", "/f/slow"));
    await until(() => finish !== undefined, "a request under way");
    const hello = rawClient(here.port, "");
    await until(
      async () => (await here.edge.metric("ofc_edge_tls_handshakes")) === 1,
      "a handshake under way",
    );
    const closed = here.edge.close();
    await until(() => isRefused(here.port), "new connections to be refused");
    using late = await secureClient(here.port, { socket: hello.socket, servername: "alice.fn.test" });
    late.socket.write(REQUEST);
    finish?.();
    await Promise.all([client.closed, late.closed]);
    expect(client.text()).toMatch(/connection: close[\s\S]*finished/i);
    expect(late.text()).toMatch(/connection: close[\s\S]*quick/i);
    await closed;
  });

  test("waits for no handshake that does not go on", async () => {
    await using here = await world({ drainMs: 10_000 });
    using silent = rawClient(here.port, "");
    await until(async () => (await here.edge.metric("ofc_edge_tls_handshakes")) === 1, "the handshake");
    const startedMs = performance.now();
    await here.edge.close();
    await silent.closed;
    expect(performance.now() - startedMs).toBeLessThan(5_000);
  });
});

part("openssl")("where http is to be https", () => {
  test.each<[string, string, string, string]>([
    ["a function", "alice.fn.test", "/f/x?a=1&b=//c", "https://alice.fn.test:8443/f/x?a=1&b=//c"],
    ["a function without a slash", "alice.fn.test", "/f", "https://alice.fn.test:8443/f"],
    ["one that is not there", "bob.fn.test", "/nope", "https://bob.fn.test:8443/nope"],
    ["an owner's page", "alice.fn.test", "/", "https://alice.fn.test:8443/"],
    [
      "the dashboard",
      "system.console.test",
      "/dashboard/?x",
      "https://system.console.test:8443/dashboard/?x",
    ],
    ["the bare domain", "fn.test", "/", "https://fn.test:8443/"],
    [
      "a host in capitals, with a dot and a port",
      "ALICE.fn.Test.:8080",
      "/f",
      "https://alice.fn.test:8443/f",
    ],
    ["a path with dots", "alice.fn.test", "/x/%2e%2e/f/./y?..", "https://alice.fn.test:8443/f/y?.."],
    [
      "a path that looks like a host",
      "system.console.test",
      "//evil.test/x",
      "https://system.console.test:8443//evil.test/x",
    ],
    [
      "a path with an at sign",
      "system.console.test",
      "/@evil.test",
      "https://system.console.test:8443/@evil.test",
    ],
    ["an absolute form", "alice.fn.test", "http://alice.fn.test/f?x", "https://alice.fn.test:8443/f?x"],
  ])("%s is sent there, in the canonical form", async (_what, host, path, location) => {
    await using here = await world({ httpsRedirectPort: 8443 });
    const answer = await here.edge.call(host, path);
    expect(answer).toMatchObject({ status: 308, headers: { location, "cache-control": "no-store" } });
    expect(here.fn.requests).toEqual([]);
  });

  test("the usual port is not named, bodies are not read, and a HEAD gets no body", async () => {
    await using here = await world({ httpsRedirectPort: 443 });
    const posted = await here.edge.call("alice.fn.test", "/f", { method: "POST", body: "x".repeat(100_000) });
    expect(posted).toMatchObject({ status: 308, headers: { location: "https://alice.fn.test/f" } });
    const head = await here.edge.call("alice.fn.test", "/f", { method: "HEAD" });
    expect(head).toMatchObject({ status: 308, headers: { location: "https://alice.fn.test/f" }, body: "" });
    expect(here.fn.requests).toEqual([]);
    expect(await here.edge.metric('ofc_edge_refused_total{reason="https-required"}')).toBe(2);
  });

  test.each<[string, string, string, number]>([
    ["a host that is not ours", "evil.test", "/f", 404],
    ["a host that is no host", "alice.fn.test@evil.test", "/f", 400],
    ["a path that can be read in two ways", "alice.fn.test", "/%2ff/x", 400],
    ["a fragment", "alice.fn.test", "/f#x", 400],
    ["an absolute form of another host", "alice.fn.test", "http://evil.test/f", 400],
  ])("%s is sent nowhere", async (_what, host, path, status) => {
    await using here = await world({ httpsRedirectPort: 443 });
    const raw = await exchangeRaw(
      here.edge.port,
      `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
    );
    expect(raw).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(raw).not.toMatch(/^location:/im);
  });

  test("who came by https is served: by our own, or by the word of a trusted peer", async () => {
    await using here = await world({ httpsRedirectPort: 443, trustedPeers: [parseNetwork("127.0.0.1")] });
    expect((await secureCall(here.port, "alice.fn.test/f", here.certificate.chain)).status).toBe(200);
    const said = async (proto: string): Promise<number> =>
      (await here.edge.call("alice.fn.test", "/f", { headers: { "X-Forwarded-Proto": proto } })).status;
    expect(await said("https")).toBe(200);
    expect(await said("http")).toBe(308);
    expect(await said("https, http")).toBe(308);
    expect((await here.edge.call("alice.fn.test", "/f")).status).toBe(308);
  });

  test("the word of anybody else does not count", async () => {
    await using here = await world({ httpsRedirectPort: 443, trustedPeers: [parseNetwork("10.0.0.0/8")] });
    const headers = { "X-Forwarded-Proto": "https" };
    expect((await here.edge.call("alice.fn.test", "/f", { headers })).status).toBe(308);
  });
});

interface Relay extends AsyncDisposable {
  readonly port: number;
  /** Resets the connection to the other side, and the client's after it. */
  reset(): void;
}

/** Stands between a client and `port`: Node crashes where a socket is reset that a secure one has taken over. */
async function relayTo(port: number): Promise<Relay> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const other = connect(port, "127.0.0.1");
    sockets.add(other);
    client.on("error", () => other.destroy()).pipe(other);
    other.on("error", () => client.destroy()).on("close", () => client.destroy());
    other.pipe(client);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: portOf(server),
    reset: () => {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("not a TCP listener");
  return address.port;
}

/** The first bytes of a handshake, as a client of this Node sends them. */
async function clientHello(): Promise<Buffer> {
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const server = createServer((socket) => {
    socket.once("data", (bytes) => {
      resolve(bytes);
      socket.destroy();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const client: Promise<SecureClient> = secureClient(portOf(server), { servername: "alice.fn.test" });
  client.catch(() => undefined);
  const hello = await promise;
  server.close();
  return hello;
}

async function isRefused(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(port, "127.0.0.1", () => resolve(false)).on("error", () => resolve(true));
  const refused = await promise;
  socket.destroy();
  return refused;
}
