import type { Platform, SourceHost } from "../trpc.ts";
import { Command } from "./command.tsx";
import { Icon } from "./icon.tsx";

interface LinkRepositoryProps {
  /** Where the owner's repositories live; for an owner of the platform's own git, where others' do. */
  readonly hosts: readonly SourceHost[];
  /** Where the owner is one of the platform's own git. */
  readonly platform: Platform | undefined;
  readonly owner: string;
}

/** How a repository of the owner comes to deploy here. */
export function LinkRepository({ hosts, platform, owner }: LinkRepositoryProps) {
  return (
    <div className="row g-3">
      {platform !== undefined && (
        <div className="col-12">
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
      {platform !== undefined && hosts.length > 0 && (
        <p className="col-12 mb-0 text-body-secondary">
          What lives elsewhere deploys from there, for its owner there and not for {owner}:
        </p>
      )}
      {hosts.map((host) => (
        <div key={host.instance} className="col-lg-6">
          <section className="card h-100" aria-label={host.title}>
            <div className="card-body">
              <h3 className="h6">
                <a href={host.url} rel="noreferrer" className="text-break">
                  {host.title}
                  <Icon name="open" className="ms-1 small" />
                </a>
              </h3>
              <Way host={host} />
            </div>
          </section>
        </div>
      ))}
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
