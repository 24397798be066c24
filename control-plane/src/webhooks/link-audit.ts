import type { AuditSink } from "../ports/audit-sink/audit-sink.ts";
import type { Enrolled } from "../ports/store/owners.ts";
import type { LinkChange, NamedRepository } from "../ports/store/repositories.ts";
import type { OwnerRow } from "../ports/store/schema.ts";
import type { Queries } from "../ports/store/store.ts";

/** Records, within the transaction of the change, what a source host's answer changed: nothing where it changed nothing. */
export function openLinkAudit(audit: AuditSink) {
  async function enrolled(within: Queries, instance: string, { owner, before }: Enrolled): Promise<void> {
    const details = differences(before, owner, ["login", "kind"]);
    if (Object.keys(details).length === 0) return;
    await audit.append(
      {
        actor: instance,
        action: before ? "owner.change" : "owner.enrol",
        object: owner.slug,
        result: before ? "changed at its host" : "enrolled",
        ownerId: owner.id,
        details: { sourceId: owner.source_owner_id, ...details },
      },
      within,
    );
  }

  async function linked(
    within: Queries,
    instance: string,
    { slug }: OwnerRow,
    change: LinkChange,
  ): Promise<void> {
    if (change.kind === "outdated") return;
    const { repository, before, transferred } = change;
    if (transferred?.unlinked_at === null)
      await unlinked(within, instance, transferred, `transferred to ${slug}/${repository.name}`);
    const isNew = before === undefined || before.unlinked_at !== null;
    const details = differences(before, repository, [
      "name",
      "full_name",
      "default_branch",
      "private",
      "web_url",
      "installation",
    ]);
    if (!isNew && Object.keys(details).length === 0) return;
    await audit.append(
      {
        actor: instance,
        action: isNew ? "repository.link" : "repository.change",
        object: `${slug}/${repository.name}`,
        result: isNew ? (before ? "linked again" : "linked") : "changed at its host",
        ownerId: repository.owner_id,
        details: { sourceId: repository.source_id, ...details },
      },
      within,
    );
  }

  async function unlinked(
    within: Queries,
    instance: string,
    { slug, name, owner_id, source_id }: NamedRepository,
    reason: string,
  ): Promise<void> {
    await audit.append(
      {
        actor: instance,
        action: "repository.unlink",
        object: `${slug}/${name}`,
        result: reason,
        ownerId: owner_id,
        details: { sourceId: source_id },
      },
      within,
    );
  }

  return { enrolled, linked, unlinked };
}

/** What is not as it was: `[before, now]`, or only what it is now where it is new. */
function differences<Row extends object, Key extends keyof Row & string>(
  before: Row | undefined,
  after: Row,
  keys: readonly Key[],
): Readonly<Record<string, unknown>> {
  const changed = keys.filter((key) => before?.[key] !== after[key]);
  return Object.fromEntries(changed.map((key) => [key, before ? [before[key], after[key]] : after[key]]));
}
