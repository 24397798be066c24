import { TRPCError } from "@trpc/server";
import { z } from "zod";
import { sealAppState } from "../access/serve-github-app.ts";
import type { RemoteHost } from "../ports/source-host/remote-host.ts";
import { nameRepositories } from "../ports/store/repositories.ts";
import type { Urls } from "../urls.ts";
import { operator, router, signedIn } from "./procedure.ts";
import type { GitHubAppForm, SourceHostsStatus, SourceHostView } from "./views.ts";

export const hostsRouter = router({
  list: signedIn.query(({ ctx }): SourceHostView[] => {
    const { hosts, urls } = ctx.ports;
    return hosts.remote.map((host) => view(host, urls));
  }),

  /** How well each of them is followed, and what is held back since too much would go at once. */
  status: operator.query(async ({ ctx }): Promise<SourceHostsStatus> => {
    const { following, brake, store } = ctx.ports;
    const held = await brake.list();
    const ids = held.flatMap(({ repositories }) => repositories.map(({ repositoryId }) => repositoryId));
    const named = await nameRepositories(store, ids);
    return {
      hosts: following.status(),
      held: held.map(({ repositories, ...rest }) => ({
        ...rest,
        repositories: repositories.map(({ repositoryId, reason }) => ({
          name: named.get(repositoryId) ?? repositoryId,
          reason,
        })),
      })),
    };
  }),

  /** What is held back is right: it goes with the next reading. */
  confirmRemoval: operator.input(z.object({ id: z.string().max(40) })).mutation(async ({ ctx, input }) => {
    const by = { subject: ctx.person.subject, address: ctx.address };
    const { brake, following } = ctx.ports;
    const held = (await brake.list()).find(({ id }) => id === input.id);
    if (held && (await brake.confirm(input.id, by))) return following.soon(held.instance);
    throw new TRPCError({ code: "NOT_FOUND", message: "Nothing of this id is held back; it may have gone." });
  }),

  /** What a page posts to GitHub for it to make a GitHub App for this platform, with all that it needs and no more. */
  newGitHubApp: operator
    .input(
      z.object({
        /** Whose App it is to be; the operator's own where it is absent. */
        organization: z
          .string()
          .trim()
          .regex(/^[A-Za-z0-9-]{1,100}$/, "must be an organisation's login")
          .optional(),
      }),
    )
    .mutation(({ ctx, input }): Promise<GitHubAppForm> => {
      const { sealing, gitHubApps } = ctx.ports;
      return gitHubApps.form(sealAppState(sealing, ctx.person.subject), input.organization);
    }),
});

function view(host: RemoteHost, urls: Urls): SourceHostView {
  return {
    instance: host.instance,
    kind: host.kind,
    title: host.title,
    url: host.webUrl,
    linkUrl: host.linkUrl,
    topic: host.topic,
    webhookUrl: urls.webhook(host.kind),
    signIn: host.signIn !== undefined,
  };
}
