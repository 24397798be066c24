import { createHash, generateKeyPairSync, type KeyObject, randomBytes } from "node:crypto";
import { must } from "@openfaas-cloud/shared/must.ts";
import type { Account, World } from "./world.ts";

/** Eight hours and half a year, as GitHub's. */
const TOKEN_S = 8 * 3600;
const REFRESH_S = 15_897_600;

export interface FakeApp {
  id: number;
  slug: string;
  publicKey: KeyObject;
  privateKeyPem: string;
  clientId: string;
  clientSecret: string;
  /** The newest first. */
  webhookSecrets: string[];
  /** Where deliveries go. */
  hookUrl: string | undefined;
  /** Where sign-in may come back to; anywhere, where there are none. */
  callbackUrls: readonly string[];
  setupUrl: string | undefined;
}

export interface WebRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** Of a form that was sent. */
  readonly form: URLSearchParams;
}

export interface WebAnswer {
  readonly status: number;
  readonly html?: string;
  readonly json?: unknown;
  readonly location?: string;
}

interface Code {
  readonly person: Account;
  readonly redirectUri: string;
  readonly challenge: string | null;
}

export interface WebOptions {
  readonly world: World;
  readonly app: () => FakeApp;
  readonly replaceApp: (app: FakeApp) => void;
  /** Who sits before the browser. */
  readonly person: () => Account;
  /** Somebody pressed the button that installs the App on all of an account's repositories. */
  readonly install: (account: Account) => Promise<number>;
}

/** The pages that people see: sign-in's consent, the App's installation, and its making from a manifest. */
export class Web {
  readonly #it: WebOptions;
  readonly #codes = new Map<string, Code>();
  readonly #manifests = new Map<string, Record<string, unknown>>();

  constructor(options: WebOptions) {
    this.#it = options;
  }

  async answer(request: WebRequest): Promise<WebAnswer> {
    const { method, path } = request;
    if (path === "/login/oauth/authorize")
      return method === "POST" ? this.#allow(request) : this.#ask(request);
    if (path === "/login/oauth/access_token" && method === "POST") return this.#giveToken(request);
    if (path === `/github-apps/${this.#it.app().slug}/installations/new`)
      return method === "POST" ? this.#install(request) : this.#offer();
    if (/^(\/organizations\/[^/]+)?\/settings\/apps\/new$/.test(path) && method === "POST")
      return this.#takeManifest(request);
    if (path === "/settings/apps/create" && method === "POST") return this.#createApp(request);
    return { status: 404, html: page("Not found", "") };
  }

  #ask({ query }: WebRequest): WebAnswer {
    const { clientId, callbackUrls, slug } = this.#it.app();
    const redirectUri = query.get("redirect_uri") ?? "";
    if (query.get("client_id") !== clientId) return { status: 404, html: page("Not found", "") };
    if (callbackUrls.length > 0 && !callbackUrls.includes(redirectUri))
      return {
        status: 400,
        html: page("Be careful: the redirect_uri is not associated with this application", ""),
      };
    if (query.get("code_challenge") !== null && query.get("code_challenge_method") !== "S256")
      return { status: 400, html: page("code_challenge_method must be S256", "") };
    return { status: 200, html: page(`Authorize ${slug}`, button("/login/oauth/authorize", query, "Allow")) };
  }

  #allow({ form }: WebRequest): WebAnswer {
    const code = randomBytes(10).toString("hex");
    const redirectUri = form.get("redirect_uri") ?? "";
    this.#codes.set(code, {
      person: this.#it.person(),
      redirectUri,
      challenge: form.get("code_challenge"),
    });
    return { status: 302, location: withQuery(redirectUri, { code, state: form.get("state") ?? "" }) };
  }

  #giveToken({ form }: WebRequest): WebAnswer {
    const { world, app } = this.#it;
    if (form.get("client_id") !== app().clientId || form.get("client_secret") !== app().clientSecret)
      return refusal("incorrect_client_credentials");
    if (form.get("grant_type") === "refresh_token") {
      const token = form.get("refresh_token") ?? "";
      const person = world.refreshTokens.get(token);
      if (person === undefined) return refusal("bad_refresh_token");
      world.refreshTokens.delete(token);
      return this.#tokensFor(person);
    }
    const name = form.get("code") ?? "";
    const code = this.#codes.get(name);
    this.#codes.delete(name);
    const verifier = form.get("code_verifier") ?? "";
    const challenge = createHash("sha256").update(verifier).digest("base64url");
    if (code === undefined || (code.challenge !== null && code.challenge !== challenge))
      return refusal("bad_verification_code");
    if (form.get("redirect_uri") !== code.redirectUri) return refusal("redirect_uri_mismatch");
    return this.#tokensFor(code.person);
  }

  #tokensFor(person: Account): WebAnswer {
    const { world } = this.#it;
    const accessToken = world.newToken("ghu_");
    const refreshToken = world.newToken("ghr_");
    world.personTokens.set(accessToken, { person, expiresAt: Date.now() + TOKEN_S * 1000 });
    world.refreshTokens.set(refreshToken, person);
    return {
      status: 200,
      json: {
        access_token: accessToken,
        expires_in: TOKEN_S,
        refresh_token: refreshToken,
        refresh_token_expires_in: REFRESH_S,
        scope: "",
        token_type: "bearer",
      },
    };
  }

  /** An account each that the person administers, with a button. */
  #offer(): WebAnswer {
    const { world, app, person } = this.#it;
    const mine = [...world.accounts.values()].filter(
      (it) => it === person() || world.memberships.get(it)?.get(person()) === "admin",
    );
    const buttons = mine.map(({ login }) =>
      button(
        `/github-apps/${app().slug}/installations/new`,
        new URLSearchParams({ account: login }),
        `Install on ${login}`,
      ),
    );
    return { status: 200, html: page(`Install ${app().slug}`, buttons.join("")) };
  }

  async #install({ form }: WebRequest): Promise<WebAnswer> {
    const { world, app, install } = this.#it;
    const id = await install(world.account(form.get("account") ?? ""));
    const { setupUrl } = app();
    if (setupUrl === undefined) return { status: 200, html: page("Installed", "") };
    const query = { installation_id: String(id), setup_action: "install" };
    return { status: 302, location: withQuery(setupUrl, query) };
  }

  #takeManifest({ query, form }: WebRequest): WebAnswer {
    const { name } = JSON.parse(form.get("manifest") ?? "{}");
    const fields = new URLSearchParams({
      manifest: form.get("manifest") ?? "",
      state: query.get("state") ?? "",
    });
    return {
      status: 200,
      html: page(`Create ${name}`, button("/settings/apps/create", fields, "Create GitHub App")),
    };
  }

  #createApp({ form }: WebRequest): WebAnswer {
    const manifest = JSON.parse(form.get("manifest") ?? "{}");
    const code = randomBytes(20).toString("hex");
    this.#manifests.set(code, manifest);
    return {
      status: 302,
      location: withQuery(manifest.redirect_url, { code, state: form.get("state") ?? "" }),
    };
  }

  /** What the code stands for becomes the App that there is. */
  convertManifest(code: string): Record<string, unknown> | undefined {
    const manifest = this.#manifests.get(code);
    this.#manifests.delete(code);
    if (manifest === undefined) return undefined;
    const name = String(manifest["name"]);
    const made = newApp(this.#it.world.nextId(), name.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-"));
    made.hookUrl = (manifest["hook_attributes"] as { url: string }).url;
    made.callbackUrls = manifest["callback_urls"] as string[];
    made.setupUrl = manifest["setup_url"] as string | undefined;
    this.#it.replaceApp(made);
    return {
      id: made.id,
      slug: made.slug,
      name,
      client_id: made.clientId,
      client_secret: made.clientSecret,
      webhook_secret: must(made.webhookSecrets[0], "a secret"),
      pem: made.privateKeyPem,
    };
  }
}

/** Takes a while, and one is as good as another. */
const KEYS = generateKeyPairSync("rsa", { modulusLength: 2048 });

export function newApp(id: number, slug: string): FakeApp {
  const { publicKey, privateKey } = KEYS;
  return {
    id,
    slug,
    publicKey,
    // PKCS #1, as GitHub gives it out.
    privateKeyPem: privateKey.export({ type: "pkcs1", format: "pem" }).toString(),
    clientId: `Iv1.${randomBytes(8).toString("hex")}`,
    clientSecret: randomBytes(20).toString("hex"),
    webhookSecrets: [randomBytes(20).toString("hex"), randomBytes(20).toString("hex")],
    hookUrl: undefined,
    callbackUrls: [],
    setupUrl: undefined,
  };
}

/** GitHub says with status 200 that it refuses. */
function refusal(error: string): WebAnswer {
  return {
    status: 200,
    json: { error, error_description: "The fake refuses.", error_uri: "https://docs.github.com" },
  };
}

function page(title: string, content: string): string {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${title}</title></head><body><h1>${title}</h1>${content}</body></html>`;
}

function button(action: string, fields: URLSearchParams, label: string): string {
  const inputs = [...fields].map(
    ([name, value]) => `<input type="hidden" name="${escaped(name)}" value="${escaped(value)}">`,
  );
  return `<form method="post" action="${action}">${inputs.join("")}<button type="submit">${label}</button></form>`;
}

function escaped(text: string): string {
  return text.replaceAll(/[&<>"]/g, (it) => `&#${it.charCodeAt(0)};`);
}

function withQuery(address: string, query: Record<string, string>): string {
  const url = new URL(address);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  return url.href;
}
