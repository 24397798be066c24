import { createHmac, timingSafeEqual } from "node:crypto";
import type { Secret } from "@openfaas-cloud/shared/env.ts";
import type { z } from "zod";
import type { Delivery, PushDelivery, RawDelivery, Verdict } from "../remote-host.ts";

const MAX_EVENT = 100;

/**
 * Whether a delivery is signed with one of the secrets: `X-Hub-Signature: sha256=<hex>`, the HMAC of the body as it came, at
 * both Bitbuckets. @param idHeader where the delivery's own id is.
 * Source: https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/
 */
export function verifyDelivery(
  { headers, body }: RawDelivery,
  secrets: readonly Secret[],
  idHeader: string,
): Verdict {
  const signature = headers["x-hub-signature"];
  if (signature === undefined || signature === "") {
    return { kind: "refused", reason: "It is not signed: the webhook has no secret." };
  }
  if (typeof signature !== "string" || !/^sha256=[0-9a-f]{64}$/.test(signature)) {
    return { kind: "refused", reason: "Its X-Hub-Signature is no single sha256=<hex>." };
  }
  const given = Buffer.from(signature.slice("sha256=".length), "hex");
  let isOurs = false;
  // Every secret is tried, so that the time it takes tells none of them apart.
  for (const secret of secrets) {
    const expected = createHmac("sha256", secret.reveal()).update(body).digest();
    isOurs = timingSafeEqual(expected, given) || isOurs;
  }
  if (!isOurs) return { kind: "refused", reason: "It is signed with none of the webhook's secrets." };
  const event = headers["x-event-key"];
  const id = headers[idHeader];
  return {
    kind: "authentic",
    deliveryId: typeof id === "string" && /^[\w:{}-]{1,100}$/.test(id) ? id : undefined,
    event: typeof event === "string" ? event : "",
  };
}

/** What the body says, by the schema of its event. */
export function readDelivery<Schema extends z.ZodType>(
  event: string,
  schema: Schema,
  body: string,
  toDelivery: (said: z.infer<Schema>) => Delivery,
): Delivery {
  let content: unknown;
  try {
    content = JSON.parse(body);
  } catch {
    return ignored(`Its body is no JSON.`);
  }
  const parsed = schema.safeParse(content);
  if (parsed.success) return toDelivery(parsed.data);
  const where = parsed.error.issues[0]?.path.join(".");
  return ignored(`It is not what ${event} looks like${where ? `: see ${where}` : ""}.`);
}

export function ignoredEvent(event: string): Delivery {
  return ignored(`Nothing is done for the event "${event.slice(0, MAX_EVENT)}".`);
}

export function ignored(reason: string): Delivery {
  return { kind: "ignored", reason };
}

/** One push may have moved several branches. */
export function pushesOf(pushes: readonly PushDelivery[]): Delivery {
  const [first, ...others] = pushes;
  if (first === undefined) return ignored("It moved no branch that could be deployed.");
  return others.length === 0 ? first : { kind: "pushes", pushes };
}
