import { Link } from "react-router";
import { authorName, firstLine } from "../format.ts";
import type { FunctionDetail } from "../trpc.ts";
import { CopyButton } from "./copy-button.tsx";
import { Fact } from "./fact.tsx";
import { GetBadge } from "./get-badge.tsx";
import { Icon } from "./icon.tsx";

export function GitCard({ detail }: { detail: FunctionDetail }) {
  return (
    <section className="card" aria-labelledby="git">
      <h2 className="card-header h6 mb-0" id="git">
        Git
      </h2>
      <dl className="card-body facts mb-0">
        <Fact term="Repository">
          {detail.repositoryUrl === undefined ? (
            <span className="text-break">
              {detail.owner}/{detail.repository}
            </span>
          ) : (
            <a href={detail.repositoryUrl} rel="noreferrer" className="text-break">
              {detail.owner}/{detail.repository}
              <Icon name="open" className="ms-1 small" />
            </a>
          )}
        </Fact>
        <Fact term="Branch">
          <span className="text-break">{detail.branch}</span>
        </Fact>
        <Fact term="Commit">
          <div className="text-break">{firstLine(detail.commitMessage) || "No commit message"}</div>
          <div className="small text-body-secondary">by {authorName(detail.commitAuthor)}</div>
          <span className="d-inline-flex align-items-center mw-100">
            <code className="text-break small">{detail.commit}</code>
            <CopyButton text={detail.commit} what="the commit" />
          </span>
        </Fact>
        {detail.cloneUrl !== undefined && (
          <Fact term="Clone">
            <span className="d-inline-flex align-items-center mw-100">
              <code className="text-break small">{detail.cloneUrl}</code>
              <CopyButton text={detail.cloneUrl} what="the clone URL" />
            </span>
          </Fact>
        )}
        <Fact term="Run">
          <Link to={`/runs/${detail.runId}`}>The run that deployed it</Link>
        </Fact>
        {detail.access === "public" && (
          <Fact term="Badge">
            <GetBadge owner={detail.owner} name={detail.name} />
          </Fact>
        )}
      </dl>
    </section>
  );
}
