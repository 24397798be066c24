import type { RemoteHost } from "../ports/source-host/remote-host.ts";
import type { Urls } from "../urls.ts";
import { procedure, router } from "./procedure.ts";
import type { SourceHostView } from "./views.ts";

export const hostsRouter = router({
  list: procedure.query(({ ctx }): SourceHostView[] => {
    const { hosts, urls } = ctx.ports;
    return hosts.remote.map((host) => view(host, urls));
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
