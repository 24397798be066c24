import type { Platform, SourceHost } from "../trpc.ts";
import { Command } from "./command.tsx";
import { Icon } from "./icon.tsx";

interface LinkRepositoryProps {
  /** Where the owner's repositories live. */
  readonly hosts: readonly SourceHost[];
  /** Where that is the platform's own git. */
  readonly platform: Platform | undefined;
  readonly owner: string;
}

/** How a repository of the owner comes to deploy here. */
export function LinkRepository({ hosts, platform, owner }: LinkRepositoryProps) {
  return (
    <div className="row g-3">
      {hosts.map((host) => (
        <div key={host.instance} className="col-lg-6">
          <section className="card h-100" aria-label={host.title}>
            <div className="card-body">
              <h3 className="h6">{host.title}</h3>
              <Way host={host} />
            </div>
          </section>
        </div>
      ))}
      {platform !== undefined && (
        <div className={hosts.length === 0 ? "col-12" : "col-lg-6"}>
          <section className="card h-100" aria-label="This platform">
            <div className="card-body">
              <h3 className="h6">This platform's own git</h3>
              <p className="text-body-secondary">A repository is made by the first push to it.</p>
              <Command
                what="the commands that push a repository"
                text={`git remote add cloud ${platform.gitBaseUrl}/${owner}/my-functions.git\ngit push cloud HEAD:main`}
              />
            </div>
          </section>
        </div>
      )}
    </div>
  );
}

function Way({ host }: { host: SourceHost }) {
  if (host.linkUrl !== undefined)
    return (
      <>
        <p className="text-body-secondary">
          Choose there which repositories this platform may see. Each is deployed at once, and with every push
          to its default branch.
        </p>
        <a href={host.linkUrl} className="btn btn-primary">
          Link repositories
          <Icon name="open" className="ms-2" />
        </a>
      </>
    );
  return (
    <>
      <p className="text-body-secondary">
        {host.topic !== undefined && (
          <>
            Give the project the topic <code>{host.topic}</code>, and add{" "}
          </>
        )}
        {host.topic === undefined && "Add "}a webhook for pushes with the secret that your operator gives you.
        It points at:
      </p>
      <Command what="the webhook's address" text={host.webhookUrl} />
    </>
  );
}
