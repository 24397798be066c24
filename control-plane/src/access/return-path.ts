export const HOME = "/dashboard/";

const MAX_LENGTH = 1024;
/** What paths of the dashboard are made of. No quote, angle bracket, backslash, colon or control character is among it. */
const PLAIN = /^\/dashboard\/[A-Za-z0-9\-._~%/?=&]*$/;

/** Where the browser goes once somebody is signed in: a page of the dashboard, and its home for whatever is none. */
export function returnPath(wanted: string | undefined): string {
  if (wanted === undefined || wanted.length > MAX_LENGTH || !PLAIN.test(wanted)) return HOME;
  // As a browser would resolve it, so that no dot segment leads out.
  const { pathname, search } = new URL(wanted, "http://system.invalid");
  const isPage = pathname.startsWith(HOME) && !pathname.startsWith(`${HOME}sign-in`);
  return isPage && !pathname.includes("//") ? pathname + search : HOME;
}
