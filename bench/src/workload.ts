/** What is asked in a side-by-side run, of everybody in the same way. */

export const DOMAIN = "example.com";
export const HOST = `alice.${DOMAIN}`;
/** alice's function that anybody may call, and the one for who is signed in. */
export const PUBLIC_FUNCTION = "fn";
export const PRIVATE_FUNCTION = "private";

const PATTERN = "0123456789";

/** The bodies that the upstream answers with, by the last segment of the path. */
export const ANSWERS = {
  "100": PATTERN.repeat(10),
  "10k": PATTERN.repeat(1024),
} as const;
export type Size = keyof typeof ANSWERS;

export const REQUEST_BODY = "x".repeat(100);

export interface Case {
  readonly name: string;
  readonly method: "GET" | "POST";
  readonly size: Size;
  /** With a session token, to the function that asks for one. */
  readonly signedIn: boolean;
}

export const CASES: readonly Case[] = [false, true].flatMap((signedIn) =>
  (["GET", "POST"] as const).flatMap((method) =>
    (["100", "10k"] as const).map((size) => ({
      name: `${method.toLowerCase()}-${size}${signedIn ? "-signed-in" : ""}`,
      method,
      size,
      signedIn,
    })),
  ),
);

export function publicPath({ signedIn, size }: Case): string {
  return `/${signedIn ? PRIVATE_FUNCTION : PUBLIC_FUNCTION}/${size}`;
}

/** What a proxy that knows no table makes of the public path: owner and function in one name, as the original had it. */
export function upstreamPath(asked: Case): string {
  return `/function/alice-${publicPath(asked).slice(1)}`;
}
