import type {
  CommitStatus,
  DeploymentReport,
  RepositoryRef,
  SourceHost,
} from "../../src/ports/source-host/source-host.ts";

export type Received = { readonly repository: RepositoryRef; readonly commit: string } & (
  | { readonly kind: "status"; readonly status: CommitStatus }
  | { readonly kind: "deployment"; readonly deployment: DeploymentReport }
);

/** A source host that keeps a ledger of what it took, in order, and does before what the test says. */
export class RecordingHost implements Pick<SourceHost, "reportStatus" | "reportDeployment" | "showsLog"> {
  readonly taken: Received[] = [];
  /** Of one commit. */
  mostAtOnce = 0;
  calls = 0;
  isLogShown = false;
  /** Called for each report before it is taken: what it throws is the host's answer. */
  before: (report: Received) => Promise<void> | void = () => undefined;
  readonly #underWay = new Map<string, number>();

  async reportStatus(repository: RepositoryRef, commit: string, status: CommitStatus): Promise<void> {
    await this.#take({ kind: "status", repository, commit, status });
  }

  async reportDeployment(repository: RepositoryRef, commit: string, report: DeploymentReport): Promise<void> {
    await this.#take({ kind: "deployment", repository, commit, deployment: report });
  }

  showsLog(): boolean {
    return this.isLogShown;
  }

  /** What it was told of a context, in order. */
  of(context: string): readonly CommitStatus[] {
    return this.taken.flatMap((one) =>
      one.kind === "status" && one.status.context === context ? [one.status] : [],
    );
  }

  get deployments(): readonly DeploymentReport[] {
    return this.taken.flatMap((one) => (one.kind === "deployment" ? [one.deployment] : []));
  }

  /** `context: state`, in order. */
  get story(): readonly string[] {
    return this.taken.map((one) =>
      one.kind === "status"
        ? `${one.status.context}: ${one.status.state}`
        : `deployment: ${one.deployment.state}`,
    );
  }

  async #take(report: Received): Promise<void> {
    this.calls += 1;
    const key = `${report.repository.repositoryId} ${report.commit}`;
    const atOnce = (this.#underWay.get(key) ?? 0) + 1;
    this.#underWay.set(key, atOnce);
    this.mostAtOnce = Math.max(this.mostAtOnce, atOnce);
    try {
      await this.before(report);
      this.taken.push(report);
    } finally {
      this.#underWay.set(key, atOnce - 1);
    }
  }
}
