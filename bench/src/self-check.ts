import { request } from "node:http";
import type { Bed, Comparator, ComparatorPlan } from "./comparators/comparator.ts";
import { ANSWERS, type Case, HOST, REQUEST_BODY } from "./workload.ts";

/** Before anything is measured: does it do the work at all, and does it turn away who shows nothing where it should. */
export async function checkItself(
  { name, path }: Pick<ComparatorPlan, "name" | "path">,
  { port }: Comparator,
  asked: Case,
  { token }: Bed,
): Promise<void> {
  const answer = await ask(port, path(asked), asked, asked.signedIn ? token : undefined);
  if (answer.status !== 200 || answer.body !== ANSWERS[asked.size]) {
    throw new Error(`${name} does not serve ${asked.name}: ${answer.status} ${answer.body.slice(0, 200)}`);
  }
  if (!asked.signedIn || name === "direct") return;
  const unsigned = await ask(port, path(asked), asked, undefined);
  if (unsigned.status === 200) throw new Error(`${name} lets everybody pass in ${asked.name}`);
}

function ask(
  port: number,
  path: string,
  { method }: Case,
  token: string | undefined,
): Promise<{ status: number; body: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: string }>();
  const headers = {
    host: HOST,
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    ...(method === "POST" ? { "content-type": "text/plain", "content-length": REQUEST_BODY.length } : {}),
  };
  const sent = request({ host: "127.0.0.1", port, path, method, headers, agent: false }, (response) => {
    const chunks: Buffer[] = [];
    response.on("data", (chunk: Buffer) => chunks.push(chunk));
    response.on("error", reject);
    response.on("end", () =>
      resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
    );
  });
  sent.on("error", reject);
  sent.end(method === "POST" ? REQUEST_BODY : undefined);
  return promise;
}
