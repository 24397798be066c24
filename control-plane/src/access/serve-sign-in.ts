import type { IncomingMessage } from "node:http";
import { PLATFORM_COOKIE_PREFIX } from "@openfaas-cloud/shared/session.ts";
import type { FastifyInstance, FastifyReply } from "fastify";
import { z } from "zod";
import type { Urls } from "../urls.ts";
import { addressOf, cookieValue } from "./caller.ts";
import { SIGN_IN_MS, SignInFailed, type SignInProblem, type SignIns, secret } from "./sign-in.ts";

/** What tells the browser that began from every other one. Host-only, as its prefix says (RFC 6265bis §4.1.3.2). */
const BROWSER_COOKIE = `${PLATFORM_COOKIE_PREFIX}sign_in`;
const BROWSER_SECRET = /^[\w-]{43}$/;
const MOST_URL = 4096;
const OF_AUTH_HOST = /^\/(login\/|login$|oauth2\/authorized(\?|$))/;

const LoginQuery = z.object({ return: z.string().optional().catch(undefined) });
const CallbackQuery = z.object({
  state: z.string().min(1).max(200),
  code: z.string().min(1).max(2048).optional(),
  error: z.string().min(1).max(200).optional(),
});

/**
 * The pages that people pass through when they sign in with a source host. The host sends them back to `auth.system.<domain>`,
 * as it was told by operators of OpenFaaS Cloud before us; all else, and every cookie, is of `system.<domain>`.
 */
export function serveSignIn(
  server: FastifyInstance,
  { signIns, urls }: { readonly signIns: SignIns; readonly urls: Urls },
): void {
  // Nothing else is there: whatever set a cookie on it would sign people in at the wrong place.
  server.addHook("onRequest", async (request, reply) => {
    if (!isAuthHost(request.raw, urls) || OF_AUTH_HOST.test(request.url)) return;
    if (request.method === "GET") return reply.redirect(`${urls.system}/dashboard/`, 303);
    return reply.code(404).send({ error: "There is nothing at this address." });
  });

  server.register(async (pages) => {
    pages.addHook("onSend", async (_request, reply) => {
      reply.header("cache-control", "no-store");
    });
    pages.setErrorHandler((error, _request, reply) => {
      if (error instanceof SignInFailed) return explain(reply, error);
      throw error;
    });
    // Only on purpose: a HEAD would spend what a GET then has not got.
    const options = { exposeHeadRoute: false };

    pages.get<{ Params: { "*": string } }>("/login/*", options, async (request, reply) => {
      if (isAuthHost(request.raw, urls)) return toSystemHost(request.raw, reply, urls);
      const name = request.params["*"].replace(/\/$/, "");
      if (name === "") return reply.redirect("/dashboard/sign-in", 303);
      const held = cookieValue(request.headers.cookie, BROWSER_COOKIE);
      // Kept where there is one, so that two sign-ins of one browser do not get into each other's way.
      const browser = held !== undefined && BROWSER_SECRET.test(held) ? held : secret();
      const address = addressOf(request.raw);
      const { return: returnTo } = LoginQuery.parse(request.query);
      const url = await signIns.begin(name, { browser, returnTo, address });
      reply.header(
        "set-cookie",
        `${BROWSER_COOKIE}=${browser}; Max-Age=${SIGN_IN_MS / 1000}; Path=/; Secure; HttpOnly; SameSite=Lax`,
      );
      return reply.redirect(url.href, 303);
    });
    pages.get("/login", options, async (_request, reply) => reply.redirect("/dashboard/sign-in", 303));

    pages.get("/oauth2/authorized", options, async (request, reply) => {
      const query = CallbackQuery.safeParse(request.query);
      if (!query.success) throw new SignInFailed("stale");
      const { state, code, error } = query.data;
      if (isAuthHost(request.raw, urls)) {
        const onwards = new URL("/oauth2/authorized", urls.system);
        for (const [name, value] of Object.entries({ state, code, error }))
          if (value !== undefined) onwards.searchParams.set(name, value);
        return reply.redirect(onwards.href, 303);
      }
      const { cookie, returnTo } = await signIns.complete(
        { state, code, error },
        cookieValue(request.headers.cookie, BROWSER_COOKIE),
        { address: addressOf(request.raw), userAgent: request.headers["user-agent"] ?? "" },
      );
      return reply.header("set-cookie", cookie).redirect(returnTo, 303);
    });
  });
}

function isAuthHost({ headers }: IncomingMessage, urls: Urls): boolean {
  return (headers.host ?? "").toLowerCase().replace(/\.?(:\d+)?$/, "") === urls.authHost;
}

/** The same page there: cookies set here would be of this host. */
function toSystemHost({ url = "" }: IncomingMessage, reply: FastifyReply, urls: Urls): FastifyReply {
  if (url.length > MOST_URL || !/^\/login\/[\x21-\x7e]*$/.test(url)) throw new SignInFailed("unknown-host");
  return reply.redirect(urls.system + url, 303);
}

interface Explanation {
  readonly status: number;
  readonly text: (title: string) => string;
}

const EXPLANATIONS: Readonly<Record<SignInProblem, Explanation>> = {
  "unknown-host": { status: 404, text: () => "There is no such place to sign in with." },
  stale: {
    status: 400,
    text: () => "This sign-in was finished already, took too long, or was begun in another browser.",
  },
  denied: {
    status: 403,
    text: (title) => `You did not let ${title} tell who you are, so nobody is signed in.`,
  },
  refused: { status: 403, text: (title) => `${title} did not confirm who you are.` },
  "not-enrolled": {
    status: 403,
    text: (title) =>
      `None of the accounts that you belong to at ${title} may deploy here. Ask the operator of this platform to enrol one.`,
  },
  "not-known": {
    status: 503,
    text: () => "The platform cannot tell yet who may come in. Try again in a few minutes.",
  },
  "host-unavailable": { status: 503, text: (title) => `${title} is not answering. Try again in a moment.` },
};

/** Plain: the platform's pages load nothing but files of the dashboard, and whatever the request said is not among it. */
function explain(reply: FastifyReply, { problem, title }: SignInFailed): FastifyReply {
  const { status, text } = EXPLANATIONS[problem];
  if (status === 503) reply.header("retry-after", "60");
  return reply
    .code(status)
    .type("text/html; charset=utf-8")
    .send(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>Not signed in</title>
<h1>Not signed in</h1>
<p>${escaped(text(title ?? "The source host"))}</p>
<p><a href="/dashboard/sign-in?problem=${problem}">Sign in again</a></p>
</html>
`);
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
