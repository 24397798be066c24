import { createHmac } from "node:crypto";
import type { Secret } from "@openfaas-cloud/shared/env.ts";
import { openHostClient } from "../source-host/host-client.ts";
import { HostUnavailable } from "../source-host/host-errors.ts";
import type { AuditReceiver } from "./audit-sink.ts";

const TITLE = "The audit webhook";
const MOST_EVENTS = 100;

/**
 * Posts JSON: `{"kind":"events","events":[…]}` with up to a hundred events in order, and `{"kind":"head","head":"<JWS>"}` for an
 * exported head. `X-Cloud-Signature-256: sha256=<hex>` is the HMAC-SHA256 of the body. Events come again until one answer to
 * them was 2xx; who has seen an event's `id` has seen that event. Redirects are not followed.
 */
export interface WebhookReceiver extends AuditReceiver, AsyncDisposable {
  deliverHead(head: string, signal: AbortSignal): Promise<void>;
}

export function openWebhookReceiver(options: {
  readonly url: string;
  readonly secret: Secret;
}): WebhookReceiver {
  const { url, secret } = options;
  const client = openHostClient({ title: TITLE });

  const post = async (content: object, signal: AbortSignal) => {
    const body = JSON.stringify(content);
    const signature = createHmac("sha256", secret.reveal()).update(body).digest("hex");
    const headers = { "content-type": "application/json", "x-cloud-signature-256": `sha256=${signature}` };
    const { status } = await client.send({ method: "POST", url, headers, body, signal });
    if (status < 200 || status > 299) throw new HostUnavailable(`${TITLE} says ${status}.`, { status });
  };

  return {
    name: "webhook",
    most: MOST_EVENTS,
    deliver: (events, signal) => post({ kind: "events", events }, signal),
    deliverHead: (head, signal) => post({ kind: "head", head }, signal),
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}
