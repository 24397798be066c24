import { createServer } from "node:http";
import { text } from "node:stream/consumers";

export interface Received {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

/** A server that keeps what it is sent and answers as it is told: 200 at first. */
export async function openRecorder() {
  const received: Received[] = [];
  let answer: { status: number; headers?: Record<string, string>; body?: string } | "never" = { status: 200 };
  const server = createServer(async (request, response) => {
    const body = await text(request);
    received.push({ method: request.method, url: request.url, headers: request.headers, body });
    if (answer === "never") return;
    response.writeHead(answer.status, answer.headers).end(answer.body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("not listening");
  return {
    url: `http://127.0.0.1:${address.port}/hook`,
    received,
    answerWith(next: typeof answer) {
      answer = next;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
