import { createHmac, randomUUID } from "node:crypto";
import type { RawDelivery } from "../../src/ports/source-host/remote-host.ts";

/** Signs as both Bitbuckets do. @param idHeader where the vendor puts the delivery's id. */
export function signed(
  payload: unknown,
  { event, secret, idHeader }: { readonly event: string; readonly secret: string; readonly idHeader: string },
): RawDelivery {
  const body = Buffer.from(JSON.stringify(payload));
  return {
    headers: {
      "content-type": "application/json; charset=UTF-8",
      "x-event-key": event,
      [idHeader]: randomUUID(),
      "x-hub-signature": `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`,
    },
    body,
  };
}

/** By what is wrong with each. */
export function forgeriesOf({ headers, body }: RawDelivery, secret: string): Record<string, RawDelivery> {
  const hmac = (algorithm: string, key: string) => createHmac(algorithm, key).update(body).digest("hex");
  const hex = hmac("sha256", secret);
  const proofs = {
    "by the digest of another age": `sha1=${hmac("sha1", secret)}`,
    "by a longer digest": `sha512=${hmac("sha512", secret)}`,
    "by the right digest under a wrong name": `sha1=${hex}`,
    "without the digest's name": hex,
    "in capitals": `sha256=${hex.toUpperCase()}`,
    "by nobody's secret": `sha256=${hmac("sha256", "nobody's secret")}`,
    "by no secret at all": `sha256=${hmac("sha256", "")}`,
    "with a second signature": `sha256=${hex},sha256=${hex}`,
  };
  const { "x-hub-signature": proof, ...others } = headers;
  return {
    ...Object.fromEntries(
      Object.entries(proofs).map(([name, value]) => [
        name,
        { headers: { ...others, "x-hub-signature": value }, body },
      ]),
    ),
    "as GitHub signs": { headers: { ...others, "x-hub-signature-256": proof }, body },
  };
}
