import { once } from "node:events";
import { connect, createServer, type Server } from "node:net";
import { expect, test } from "vitest";
import { PublicPort } from "../src/public-port.ts";

async function listen(port: number, host: string): Promise<Server & AsyncDisposable> {
  const server = createServer();
  server.listen({ port, host });
  await once(server, "listening");
  return server;
}

test("nobody else gets the port, on either loopback address, although nobody accepts yet", async () => {
  using held = await PublicPort.hold(0);
  for (const host of ["127.0.0.1", "::1"]) {
    await expect(listen(held.port, host)).rejects.toMatchObject({ code: "EADDRINUSE" });
  }
  expect(held.descriptors).toHaveLength(2);
});

test.each(["127.0.0.1", "::1"])(
  "a port that is taken on %s is refused, and nothing of it stays held",
  async (host) => {
    await using other = await listen(0, host);
    const address = other.address();
    const port = typeof address === "object" ? (address?.port ?? 0) : 0;
    await expect(PublicPort.hold(port)).rejects.toThrow(`Port ${port} is in use (${host})`);
    await using _free = await listen(port, host === "::1" ? "127.0.0.1" : "::1");
  },
);

test("a connection waits in the port until somebody accepts", async () => {
  using held = await PublicPort.hold(0);
  const client = connect({ port: held.port, host: "127.0.0.1" });
  await once(client, "connect");
  client.destroy();
});

test("the port is free again when it is let go", async () => {
  const held = await PublicPort.hold(0);
  held[Symbol.dispose]();
  await using _server = await listen(held.port, "127.0.0.1");
});
