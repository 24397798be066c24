import { z } from "zod";

/** A webhook as both Bitbuckets describe one. */
export const Webhook = z.object({ url: z.string().nullish(), active: z.boolean() });
export type Webhook = z.infer<typeof Webhook>;

/** Whether one of them sends to us. That is what links a repository. */
export function pointsAt(webhookUrl: string, webhooks: readonly Webhook[]): boolean {
  const wanted = addressOf(webhookUrl);
  return webhooks.some(({ url, active }) => active && url && addressOf(url) === wanted);
}

/** As URLs are the same however they are written: scheme and host in any case, default ports, a slash at the end. */
function addressOf(url: string): string | undefined {
  if (!URL.canParse(url)) return undefined;
  const { origin, pathname } = new URL(url);
  return origin + pathname.replace(/\/+$/, "");
}
