import { SESSION_COOKIE } from "@openfaas-cloud/shared/session.ts";
import { type Cookie, CookieJar, getPublicSuffix } from "tough-cookie";
import { type Answer, call } from "../../support/servers.ts";

/** Chrome's: past so many of one registrable domain, the least recently used go until so many are left. */
const MAX_COOKIES = 180;
const LEFT_COOKIES = 150;
const MAX_COOKIE_BYTES = 4096;

/** What a page or an answer may do to cookies, by the rules of browsers and the Public Suffix List. */
export class Browser {
  readonly #jar: CookieJar;
  readonly #port: number;
  readonly #knowsPrefixes: boolean;

  /** `knowsPrefixes` is false for one so old that `__Host-` is a name like any other. */
  constructor(port: number, options: { readonly knowsPrefixes: boolean }) {
    this.#port = port;
    this.#knowsPrefixes = options.knowsPrefixes;
    this.#jar = new CookieJar(undefined, { looseMode: true, prefixSecurity: "unsafe-disabled" });
  }

  async get(host: string, path: string, headers: Record<string, string> = {}): Promise<Answer> {
    const url = `https://${host}${path}`;
    const cookie = await this.cookiesFor(url);
    const answer = await call(this.#port, host, path, {
      headers: { ...headers, ...(cookie === "" ? {} : { cookie }) },
    });
    for (const line of answer.headers["set-cookie"] ?? []) await this.#set(line, url, true);
    if (/cookies|\*/i.test(String(answer.headers["clear-site-data"] ?? ""))) await this.#clear(host);
    return answer;
  }

  /** What a script of a page at this host can do. */
  async script(host: string, documentCookie: string): Promise<void> {
    await this.#set(documentCookie, `https://${host}/`, false);
  }

  cookiesFor(url: string): Promise<string> {
    return this.#jar.getCookieString(url);
  }

  async #set(line: string, url: string, http: boolean): Promise<void> {
    if (Buffer.byteLength(line.split(";")[0] ?? "") > MAX_COOKIE_BYTES) return;
    if (this.#knowsPrefixes && !mayHavePrefix(line)) return;
    await this.#jar.setCookie(line, url, { http, ignoreError: true });
    await this.#makeRoom(new URL(url).hostname);
  }

  async #makeRoom(host: string): Promise<void> {
    const site = getPublicSuffix(host);
    const cookies = (await this.#all()).filter(({ domain }) => getPublicSuffix(domain ?? "") === site);
    if (cookies.length <= MAX_COOKIES) return;
    const used = ({ lastAccessed }: Cookie): number =>
      lastAccessed instanceof Date ? lastAccessed.getTime() : 0;
    const oldest = cookies.toSorted((a, b) => used(a) - used(b)).slice(0, cookies.length - LEFT_COOKIES);
    for (const cookie of oldest) await this.#remove(cookie);
  }

  /** The whole registrable domain's, as Clear-Site-Data says. */
  async #clear(host: string): Promise<void> {
    const site = getPublicSuffix(host);
    for (const cookie of await this.#all()) {
      if (getPublicSuffix(cookie.domain ?? "") === site) await this.#remove(cookie);
    }
  }

  #all(): Promise<Cookie[]> {
    return this.#jar.store.getAllCookies();
  }

  async #remove({ domain, path, key }: Cookie): Promise<void> {
    await this.#jar.store.removeCookie(domain, path, key);
  }
}

/** RFC 6265bis §5.7: `__Host-` in any case, Secure, Path=/, no Domain; and no nameless cookie that would be read as one. */
function mayHavePrefix(line: string): boolean {
  const [pair = "", ...attributes] = line.split(";").map((part) => part.trim());
  if (/^=?\s*__(host|secure)-/i.test(pair) && !/^__(host|secure)-[^=]*=/i.test(pair)) return false;
  if (!/^__host-/i.test(pair)) return true;
  const has = (name: RegExp): boolean => attributes.some((attribute) => name.test(attribute));
  return has(/^secure$/i) && has(/^path=\/$/i) && !has(/^domain/i);
}

/** The sessions that a server is presented, as the control plane counts them. */
export function sessionsIn(cookie: string): string[] {
  return cookie
    .split(";")
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${SESSION_COOKIE}=`))
    .map((pair) => pair.slice(SESSION_COOKIE.length + 1));
}
