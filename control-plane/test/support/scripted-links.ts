import { newId } from "../../src/ids.ts";
import type { RepositoryFacts } from "../../src/ports/source-host/remote-host.ts";
import { findRepositoryBySource } from "../../src/ports/store/repositories.ts";
import type { Store } from "../../src/ports/store/store.ts";
import type { Links, Looked } from "../../src/webhooks/links.ts";
import type { ScriptedHost } from "./scripted-host.ts";

/** Every repository of the host is `owner-a`'s, unless it is in `notEnrolled`. */
export function openScriptedLinks(
  store: Store,
  notEnrolled: ReadonlySet<string> = new Set(),
): Pick<Links, "look" | "lookAtInstallation"> {
  const bring = async (instance: string, facts: RepositoryFacts): Promise<Looked> => {
    if (notEnrolled.has(facts.key.id)) return { kind: "not-linked", reason: "a is not enrolled here" };
    const known = await findRepositoryBySource(store, instance, facts.key.id);
    const now = {
      name: facts.name,
      default_branch: facts.defaultBranch ?? null,
      full_name: facts.fullName,
      web_url: facts.webUrl,
      private: facts.isPrivate ? 1 : 0,
      unlinked_at: null,
    };
    if (known) await store.updateTable("repositories").set(now).where("id", "=", known.id).execute();
    else {
      await store
        .insertInto("repositories")
        .values({
          ...now,
          id: newId(),
          owner_id: "owner-a",
          created_at: Date.now(),
          source_host: instance,
          source_id: facts.key.id,
          installation: facts.key.installation ?? null,
        })
        .execute();
    }
    const repository = await findRepositoryBySource(store, instance, facts.key.id);
    if (!repository) throw new Error("it was just stored");
    return { kind: "linked", repository, isNew: known === undefined || known.unlinked_at !== null };
  };

  return {
    async look(host, key, signal) {
      const state = await host.fetchRepository(key, signal);
      if (state.kind === "linked") return bring(host.instance, state.facts);
      await store
        .updateTable("repositories")
        .set({ unlinked_at: Date.now(), unlinked_reason: state.reason })
        .where("source_host", "=", host.instance)
        .where("source_id", "=", key.id)
        .execute();
      return { kind: "not-linked", reason: state.reason };
    },

    async lookAtInstallation(host, installation, signal) {
      const state = await (host as ScriptedHost).fetchInstallation(installation, signal);
      if (state.kind === "removed") return [];
      return Promise.all(state.repositories.map((facts) => bring(host.instance, facts)));
    },
  };
}
