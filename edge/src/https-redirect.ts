import type { Refusal } from "./refusal.ts";
import { canonicalPath, type Target } from "./target.ts";

const HTTPS_PORT = 443;

/**
 * The same request by https, for one that came by http: only for hosts of ours and only in the canonical form, so that it
 * leads nowhere but here. `undefined` where nothing of ours was asked for. 308 for every method, since a 301 lets clients
 * turn a POST into a GET.
 */
export function redirectToHttps(target: Target, rawTarget: string, port: number): Refusal | undefined {
  if (target.kind === "refused" || target.kind === "unknown-host") return undefined;
  const { host } = target;
  const authority = port === HTTPS_PORT ? host.name : `${host.name}:${port}`;
  return {
    status: 308,
    code: "https-required",
    message: "This is served by https only. Ask again there.",
    location: `https://${authority}${canonicalPath(rawTarget, host)}`,
  };
}
