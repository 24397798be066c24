import { HostUnavailable } from "./host-errors.ts";
import type { RemoteHost } from "./remote-host.ts";
import { EMBEDDED, type RepositoryRef, type SourceHost } from "./source-host.ts";

/** Every source host there is, as one: each repository's own is asked. Hosts may come while the platform runs; none goes. */
export class SourceHosts implements SourceHost {
  readonly #embedded: SourceHost;
  readonly #remote = new Map<string, RemoteHost>();

  constructor(embedded: SourceHost, remote: readonly RemoteHost[]) {
    this.#embedded = embedded;
    for (const host of remote) this.add(host);
  }

  /** Owned from here on. */
  add(host: RemoteHost): void {
    if (this.#remote.has(host.instance)) throw new Error(`${host.instance} is a source host already`);
    this.#remote.set(host.instance, host);
  }

  get remote(): readonly RemoteHost[] {
    return [...this.#remote.values()];
  }

  find(instance: string): RemoteHost | undefined {
    return this.#remote.get(instance);
  }

  fetchCommit: SourceHost["fetchCommit"] = (repository, ...rest) =>
    this.#of(repository).fetchCommit(repository, ...rest);

  reportStatus: SourceHost["reportStatus"] = (repository, ...rest) =>
    this.#of(repository).reportStatus(repository, ...rest);

  showsLog(repository: RepositoryRef): boolean {
    return this.#of(repository).showsLog?.(repository) ?? false;
  }

  reportDeployment: SourceHost["reportDeployment"] = (repository, ...rest) =>
    this.#of(repository).reportDeployment(repository, ...rest);

  settlePush: SourceHost["settlePush"] = (push) => this.#of(push.repository).settlePush(push);

  tidy: SourceHost["tidy"] = (repository, ...rest) => this.#of(repository).tidy(repository, ...rest);

  forget: SourceHost["forget"] = (repository) => this.#of(repository).forget(repository);

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.remote.map((host) => host[Symbol.asyncDispose]()));
  }

  #of({ host: instance, owner, name }: RepositoryRef): SourceHost {
    if (instance === EMBEDDED) return this.#embedded;
    const host = this.#remote.get(instance);
    if (host !== undefined) return host;
    throw new HostUnavailable(
      `${instance}, where ${owner}/${name} comes from, is no source host of this platform any more.`,
    );
  }
}
