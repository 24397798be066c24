import { badgeMarkdown, badgePath } from "../format.ts";
import { Command } from "./command.tsx";

/** A badge for a README, as Markdown to copy. Of a function that is not public a badge says nothing. */
export function GetBadge({ owner, name }: { owner: string; name: string }) {
  return (
    <details>
      <summary className="btn btn-sm btn-outline-secondary">Get badge</summary>
      <p className="my-2">
        {/* Not fetched before somebody opens it. */}
        <img src={badgePath(owner, name)} alt={`The badge of ${name}`} height={20} loading="lazy" />
      </p>
      <Command text={badgeMarkdown(window.location.origin, owner, name)} what="the Markdown of the badge" />
    </details>
  );
}
