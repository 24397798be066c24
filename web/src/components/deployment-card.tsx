import { formatBytes, formatPlural, shortArtifact, shortUrl } from "../format.ts";
import type { FunctionDetail } from "../trpc.ts";
import { Age } from "./age.tsx";
import { CopyButton } from "./copy-button.tsx";
import { Fact } from "./fact.tsx";
import { FunctionState } from "./function-state.tsx";
import { Names } from "./names.tsx";
import { Replicas } from "./replicas.tsx";

const access: Record<FunctionDetail["access"], (owner: string) => string> = {
  public: () => "Anyone",
  "signed-in": () => "Anyone who is signed in",
  members: (owner) => `Members of ${owner}`,
  token: (owner) => `Machines, by an access token of a member of ${owner}`,
};

const replicaStates: Record<FunctionDetail["replicaList"][number]["state"], string> = {
  starting: "starting",
  ready: "ready",
  "backing-off": "waiting before it is started again",
};

export function DeploymentCard({ detail }: { detail: FunctionDetail }) {
  const annotations = { ...detail.labels, ...detail.annotations };
  return (
    <section className="card" aria-labelledby="deployment">
      <h2 className="card-header h6 mb-0" id="deployment">
        Deployment
      </h2>
      <dl className="card-body facts mb-0">
        <Fact term="URL">
          <span className="d-inline-flex align-items-center mw-100">
            <a href={detail.url} target="_blank" rel="noreferrer" className="text-break">
              {shortUrl(detail.url)}
            </a>
            <CopyButton text={detail.url} what="URL" />
          </span>
        </Fact>
        <Fact term="State">
          <FunctionState state={detail.state} />
        </Fact>
        <Fact term="Replicas">
          <Replicas {...detail.replicas} /> ready
          <ul className="list-unstyled small text-body-secondary mb-0">
            {detail.replicaList.map((replica) => (
              <li key={replica.id} className="text-break">
                <code>{replica.id}</code> {replicaStates[replica.state]}
                {replica.restarts > 0 && `, ${formatPlural(replica.restarts, "restart")}`}
                {replica.lastExit !== undefined && (
                  <div className="text-danger-emphasis">Last exit: {replica.lastExit}</div>
                )}
              </li>
            ))}
          </ul>
        </Fact>
        <Fact term="Deployed">
          <Age at={detail.deployedAt} />, as revision <code>{detail.revision}</code>
        </Fact>
        <Fact term="Access">{access[detail.access](detail.owner)}</Fact>
        <Fact term="Language">{detail.language}</Fact>
        <Fact term="Memory limit">{formatBytes(detail.memoryLimitBytes)}</Fact>
        <Fact term="Image">
          <span className="d-inline-flex align-items-center mw-100">
            <code title={detail.artifact} className="text-break">
              {shortArtifact(detail.artifact)}
            </code>
            <CopyButton text={detail.artifact} what="the whole digest" />
          </span>
        </Fact>
        <Fact term="Environment">
          <Names names={detail.environment} />
        </Fact>
        <Fact term="Secrets">
          <Names names={detail.secrets} />
        </Fact>
        <Fact term="Labels and annotations">
          <Names names={Object.entries(annotations).map(([name, value]) => `${name}: ${value}`)} />
        </Fact>
      </dl>
    </section>
  );
}
