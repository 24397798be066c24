import { Link, useParams } from "react-router";
import { LogViewer } from "../components/log-viewer.tsx";
import { Trail } from "../components/trail.tsx";
import { useFunctionLog } from "../use-log.ts";

const maxLines = 20_000;

/** The log of a function's replicas, on a page of its own. */
export function LogsPage() {
  const { owner = "", function: name = "" } = useParams();
  return <Logs key={`${owner}/${name}`} owner={owner} name={name} />;
}

function Logs({ owner, name }: { owner: string; name: string }) {
  const log = useFunctionLog(owner, name, maxLines);
  return (
    <>
      <title>{`Log of ${name} · ${owner} · OpenFaaS Cloud`}</title>
      <Trail>
        <Link to={`/${owner}`}>{owner}</Link>
        <Link to={`/${owner}/${name}`}>{name}</Link>
        <span>Log</span>
      </Trail>
      <h1 className="h3 text-break mb-3">Log of {name}</h1>
      <div className="card overflow-hidden">
        <LogViewer
          tall
          log={log}
          name={`Log of ${name}`}
          empty="The function has not written a line yet. Invoke it; what it writes appears here."
          fileName={`${owner}-${name}.log`}
        />
      </div>
    </>
  );
}
