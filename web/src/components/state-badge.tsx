import { Icon, type IconName } from "./icon.tsx";

export interface StateLook {
  readonly word: string;
  readonly icon: IconName;
  readonly tone: "success" | "warning" | "danger" | "primary" | "secondary";
  readonly turning?: boolean;
}

/** Shape, word and colour say the same thing; any one of them is enough. */
export function StateBadge({ look }: { look: StateLook }) {
  return (
    <span
      className={`badge rounded-pill bg-${look.tone}-subtle text-${look.tone}-emphasis border border-${look.tone}-subtle`}
    >
      <Icon name={look.icon} className={look.turning ? "turning me-1" : "me-1"} />
      {look.word}
    </span>
  );
}
