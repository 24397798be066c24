import { connect, Socket } from "node:net";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { FeedServer, route } from "./support/feed-server.ts";
import { rawClient, rawUpstream, testEdge, until, upstream } from "./support/servers.ts";

// Clients that send requests without waiting for answers, and leave answers unread.

const MiB = 1024 * 1024;
/** More than the kernel takes of a connection on its own, in both directions together. */
const MORE_THAN_KERNEL_BYTES = 20 * MiB;
const TO_NOBODY = "GET /x HTTP/1.1\r\nHost: nobody.fn.test\r\n\r\n";

const LANES: [string, boolean][] = [
  ["plain", true],
  ["full", false],
];

/** The edge's side of a connection, which is in this process too. */
function edgeSideOf(client: Socket): Socket | undefined {
  const handles = (process as unknown as { _getActiveHandles(): unknown[] })._getActiveHandles();
  return handles.find(
    (handle): handle is Socket =>
      handle instanceof Socket &&
      handle.localPort === client.remotePort &&
      handle.remotePort === client.localPort,
  );
}

/** Writes one piece after the other, as fast as they are taken; returns how many bytes were. */
function keepWriting(client: Socket, piece: string, upToBytes: number): () => number {
  let written = 0;
  const go = (): void => {
    while (written < upToBytes && !client.destroyed) {
      written += piece.length;
      if (!client.write(piece, "latin1")) return void client.once("drain", go);
    }
  };
  go();
  return () => client.bytesWritten - client.writableLength;
}

/** When it has not changed for a while. */
async function standsStill(value: () => number): Promise<void> {
  let last = -1;
  while (value() !== last) {
    last = value();
    await sleep(500);
  }
}

async function neverReading(port: number): Promise<Socket> {
  const client = connect(port, "127.0.0.1").on("error", () => undefined);
  client.pause();
  await until(() => client.readyState === "open", "a connection");
  return client;
}

test.each(LANES)(
  "whoever reads no refusals is not read from any more (%s lane)",
  async (_lane, plainLane) => {
    await using feed = await new FeedServer([]).listen();
    await using edge = await testEdge(feed.origin, { plainLane });
    using client = rawClientThatNeverReads(edge.port);
    const taken = keepWriting(client.socket, TO_NOBODY.repeat(1_000), 2 * MORE_THAN_KERNEL_BYTES);
    await standsStill(taken);
    // The full lane ends the connection of a client that sends too many.
    if (plainLane) expect(taken()).toBeLessThan(MORE_THAN_KERNEL_BYTES);
    else await until(() => edgeSideOf(client.socket) === undefined, "the end of the connection");
    expect(edgeSideOf(client.socket)?.writableLength ?? 0).toBeLessThan(MiB);
  },
);

function rawClientThatNeverReads(port: number) {
  const client = rawClient(port, "");
  client.socket.pause();
  return client;
}

test.each(LANES)(
  "what is sent ahead of a slow function's answers is not read ahead without end (%s lane)",
  async (_lane, plainLane) => {
    const ANSWERS = 400;
    await using fn = await rawUpstream((socket) =>
      socket.on("data", () => {
        setTimeout(() => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), 2);
      }),
    );
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    await using edge = await testEdge(feed.origin, { plainLane });
    using client = rawClient(edge.port, "");
    let answered = 0;
    client.socket.on("data", (chunk) => {
      answered += chunk.toString("latin1").split("200 OK").length - 1;
    });
    const request = "GET /f HTTP/1.1\r\nHost: alice.fn.test\r\n\r\n";
    const taken = keepWriting(client.socket, request.repeat(1_500), 3 * MORE_THAN_KERNEL_BYTES);
    await until(() => answered >= ANSWERS || client.socket.destroyed, "answers", 8_000);
    if (plainLane) expect(taken()).toBeLessThan(MORE_THAN_KERNEL_BYTES);
    else expect(client.socket.destroyed).toBe(true);
  },
  30_000,
);

test("what one client sends ahead is served a few at a time, with everybody else in between", async () => {
  const REQUESTS = 5_000;
  await using feed = await new FeedServer([]).listen();
  await using edge = await testEdge(feed.origin, { plainLane: true });
  using client = rawClient(edge.port, TO_NOBODY.repeat(REQUESTS));
  let turns = 0;
  let answers = 0;
  client.socket.on("data", (chunk) => {
    answers += chunk.toString("latin1").split("HTTP/1.1 404").length - 1;
  });
  while (answers < REQUESTS - 100 && turns < 1_000_000) {
    turns += 1;
    await nextTurn();
  }
  expect(turns).toBeGreaterThan(REQUESTS / 50);
});

test("many requests sent ahead hold up nobody else, whoever they are for (full lane)", async () => {
  let waitMs = 300;
  await using fn = await upstream((_request, response) => {
    setTimeout(() => response.end("ok"), waitMs);
    waitMs = 0;
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin, { plainLane: false });
  const request = "GET /f HTTP/1.1\r\nHost: alice.fn.test\r\n\r\n";
  using client = rawClient(edge.port, request.repeat(50_000));
  client.socket.end();
  let longestMs = 0;
  let lastMs = performance.now();
  await until(() => {
    const nowMs = performance.now();
    longestMs = Math.max(longestMs, nowMs - lastMs);
    lastMs = nowMs;
    return client.socket.destroyed;
  }, "the end of the connection");
  expect(longestMs).toBeLessThan(500);
});

test("behind an answer that was cut nothing is begun", async () => {
  await using fn = await rawUpstream((socket) =>
    socket.once("data", () => {
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
      setTimeout(() => socket.destroy(), 50);
    }),
  );
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin, { plainLane: true });
  using client = rawClient(edge.port, "GET /f HTTP/1.1\r\nHost: alice.fn.test\r\n\r\n".repeat(2));
  await client.closed;
  await nextTurn();
  expect(await edge.metric('gateway_function_invocation_started{function_name="f.alice"}')).toBe(1);
});

test("heads that wait for their turn are bounded in size as well, and the connection ends with them", async () => {
  const answer: (() => void)[] = [];
  await using fn = await upstream((_request, response) => void answer.push(() => response.end("ok")));
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  const large = `GET /f HTTP/1.1\r\nHost: alice.fn.test\r\nX: ${"v".repeat(14 * 1024)}\r\n\r\n`;
  using client = rawClient(
    edge.port,
    `GET /f HTTP/1.0\r\nHost: alice.fn.test\r\nConnection: keep-alive\r\n\r\n${large.repeat(50)}`,
  );
  await until(() => {
    answer.shift()?.();
    return client.socket.destroyed;
  }, "the end of the connection");
  expect(fn.requests.length).toBeGreaterThan(4);
  expect(fn.requests.length).toBeLessThan(8);
});

test("bodies that wait for their turn are bounded with their heads", async () => {
  const answer: (() => void)[] = [];
  await using fn = await upstream((request, response) => {
    request.resume();
    answer.push(() => response.end("ok"));
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin, { plainLane: false });
  const body = "b".repeat(15_000);
  const post = `POST /f HTTP/1.1\r\nHost: alice.fn.test\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  using client = rawClient(edge.port, post.repeat(50));
  await until(() => edgeSideOf(client.socket)?.isPaused() === true, "it to be read no further");
  await until(() => {
    answer.shift()?.();
    return client.socket.destroyed;
  }, "the end of the connection");
  expect(fn.requests.length).toBeGreaterThan(3);
  expect(fn.requests.length).toBeLessThan(9);
});

test.each(LANES)(
  "a refusal that is not read is given up in time (%s lane)",
  async (_lane, plainLane) => {
    await using feed = await new FeedServer([]).listen();
    await using edge = await testEdge(feed.origin, { plainLane, timeouts: { writeIdleMs: 300 } });
    const client = await neverReading(edge.port);
    const refused = () => edge.metric('ofc_edge_refused_total{reason="unknown-host"}');
    const inTime = async (goal: number): Promise<boolean> =>
      await until(async () => (await refused()) === goal, "refusals", 200).then(
        () => true,
        () => false,
      );
    let sent = 0;
    // In small lots, so that it is not for the number sent ahead that the connection ends.
    do {
      client.write(TO_NOBODY.repeat(90));
      sent += 90;
    } while (await inTime(sent));
    await until(() => edgeSideOf(client) === undefined, "the connection to be given up");
    expect(await edge.metric("ofc_edge_requests_in_flight")).toBe(0);
    client.destroy();
  },
  30_000,
);

test.each(LANES)(
  "the end of a last answer waits for a client that reads slowly (%s lane)",
  async (_lane, plainLane) => {
    let client: Socket | undefined;
    let total = 0;
    let ended = false;
    await using fn = await upstream(async (_request, response) => {
      // Until the last piece is more than the kernel takes at once.
      while (client !== undefined && (edgeSideOf(client)?.writableLength ?? 0) === 0) {
        total += 4_096;
        response.write("a".repeat(4_096));
        await nextTurn();
      }
      response.end(() => {
        ended = true;
      });
    });
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    await using edge = await testEdge(feed.origin, { plainLane });
    client = await neverReading(edge.port);
    client.write("GET /f HTTP/1.1\r\nHost: alice.fn.test\r\nConnection: close\r\n\r\n");
    await until(() => ended, "the end of the function's answer", 20_000);
    // Longer than a client that has its answer may go on sending.
    await sleep(6_000);
    let received = "";
    client.on("data", (chunk) => {
      received += chunk.toString("latin1");
    });
    client.resume();
    await until(() => client?.closed === true, "the end to arrive");
    expect(received.endsWith("\r\n0\r\n\r\n")).toBe(true);
    expect(received.split("a").length - 1).toBeGreaterThanOrEqual(total);
  },
  40_000,
);
