import { createHash } from "node:crypto";

const DIGEST = 8;

/** The context by which a status is found again, however short the host wants it. */
export function statusKey(context: string, most: number): string {
  if (context.length <= most) return context;
  const digest = createHash("sha256").update(context).digest("hex").slice(0, DIGEST);
  return `${context.slice(0, most - DIGEST - 1)}-${digest}`;
}
