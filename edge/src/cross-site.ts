import type { RequestLines } from "./exchange.ts";

/**
 * Whether a browser was made to ask by a page of another origin. Asked where the credential is one that browsers send of
 * themselves: sibling functions are the same site to a browser, so that no SameSite keeps them out. A link that is followed
 * is no attack, and fills no frame; a form that is posted, a script's request, an image or a WebSocket may be. Who sends none
 * of these headers is taken for no browser: over https, and to localhost, every browser of today says one of them. Over plain
 * http to any other host an image does not, and neither does it bring a session, whose cookie is for https alone.
 */
export function isCrossSite({ method, rawHeaders }: RequestLines, host: string | undefined): boolean {
  let site: string | undefined;
  let navigates = false;
  let isPage = true;
  let origin: string | undefined;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const value = rawHeaders[i + 1] ?? "";
    switch ((rawHeaders[i] ?? "").toLowerCase()) {
      case "sec-fetch-site":
        // Of several the worst counts.
        if (site === undefined || isOurs(site)) site = value;
        break;
      case "sec-fetch-mode":
        navigates = value === "navigate";
        break;
      case "sec-fetch-dest":
        isPage = value === "document";
        break;
      case "origin":
        origin = value;
        break;
    }
  }
  if (site !== undefined)
    return !isOurs(site) && !(navigates && isPage && (method === "GET" || method === "HEAD"));
  return origin !== undefined && hostOf(origin) !== host?.toLowerCase();
}

function isOurs(site: string): boolean {
  return site === "same-origin" || site === "none";
}

/** With its port. The scheme does not count: whether a TLS terminator stands before us is not known for certain here. */
function hostOf(origin: string): string | undefined {
  return /^https?:\/\/(.+)$/.exec(origin)?.[1];
}
