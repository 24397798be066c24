/** Public addresses, all made in one place. `base` is the functions domain with scheme and port: `http://localhost:8080`. */
export class Urls {
  readonly #base: URL;

  constructor(base: string) {
    this.#base = new URL(base);
  }

  /** `http://system.localhost:8080`, the origin of dashboard, API and git. */
  get system(): string {
    return this.#host("system");
  }

  /** Host name of the system, without the port: the audience of session tokens. */
  get systemHost(): string {
    return `system.${this.#base.hostname}`;
  }

  /** `http://auth.system.localhost:8080`, the origin that source hosts send people back to. */
  get auth(): string {
    return this.#host("auth.system");
  }

  get authHost(): string {
    return `auth.system.${this.#base.hostname}`;
  }

  /** What source hosts are told to send people back to. */
  get signInCallback(): string {
    return `${this.auth}/oauth2/authorized`;
  }

  /** Where GitHub sends the browser when it has made a GitHub App for this platform. */
  get gitHubAppCreated(): string {
    return `${this.system}/github-app/created`;
  }

  /** Where signing in with a source host begins. */
  login(instance: string): string {
    return `${this.system}/login/${encodeURIComponent(instance)}`;
  }

  get git(): string {
    return `${this.system}/git`;
  }

  function(owner: string, name: string): string {
    return `${this.#host(owner)}/${name}`;
  }

  clone(owner: string, repository: string): string {
    return `${this.git}/${owner}/${repository}.git`;
  }

  /** Where a source host of this kind sends its deliveries: upstream's addresses. */
  webhook(kind: "github" | "gitlab" | "bitbucket-cloud" | "bitbucket-datacenter"): string {
    return `${this.system}/${kind.replace(/-.*/, "")}-event`;
  }

  /** Page of everything that the owner runs. */
  owner(owner: string): string {
    return `${this.system}/dashboard/${owner}`;
  }

  run(runId: string): string {
    return `${this.system}/dashboard/runs/${runId}`;
  }

  /** In the fragment, which no browser sends to a server or writes in a referrer. */
  signIn(code: string): string {
    return `${this.system}/dashboard/sign-in#code=${code}`;
  }

  #host(label: string): string {
    return `${this.#base.protocol}//${label}.${this.#base.host}`;
  }
}
