import { connect, createServer } from "node:net";

// A process of its own: `node-relay-main.ts <port> <upstream port>`. Bytes there and back between sockets, for each client a
// connection of its own, and nothing read of them: what is left for whoever writes a proxy in Node.
const [, , port, upstreamPort] = process.argv;

createServer({ noDelay: true }, (client) => {
  const upstream = connect({ port: Number(upstreamPort), host: "127.0.0.1", noDelay: true });
  client.pipe(upstream).pipe(client);
  client.on("error", () => upstream.destroy());
  upstream.on("error", () => client.destroy());
}).listen({ port: Number(port), host: "127.0.0.1", backlog: 16_384 });
