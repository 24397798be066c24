import { openHostClient } from "../source-host/host-client.ts";
import { HostUnavailable } from "../source-host/host-errors.ts";
import type { AuditReceiver, KeptEvent } from "./audit-sink.ts";

const TITLE = "Slack's audit webhook";
/** Slack takes one message a second; what comes faster shares one, a line each. */
const MOST_EVENTS = 10;
const MAX_PART = 300;
const ZERO_WIDTH_SPACE = "\u200B";

/**
 * Posts events to an incoming webhook of Slack, or of anything that takes the same: `{"text": "[<action>] <owner>/<what>:
 * '<result>'"}`, the shape of the original OpenFaaS Cloud. Nothing in them becomes a link, a mention or a line of its own.
 */
export function openSlackReceiver(options: { readonly url: string }): AuditReceiver & AsyncDisposable {
  const { url } = options;
  const client = openHostClient({ title: TITLE });
  return {
    name: "slack",
    most: MOST_EVENTS,
    async deliver(events, signal) {
      const body = JSON.stringify({ text: events.map(line).join("\n"), unfurl_links: false, mrkdwn: false });
      const headers = { "content-type": "application/json" };
      const { status } = await client.send({ method: "POST", url, headers, body, signal });
      if (status < 200 || status > 299) throw new HostUnavailable(`${TITLE} says ${status}.`, { status });
    },
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}

function line({ action, object, result }: KeptEvent): string {
  return `[${plain(action)}] ${plain(object)}: '${plain(result)}'`;
}

/**
 * `&`, `<` and `>` are all that Slack wants escaped (docs.slack.dev/messaging/formatting-message-text), and with that nobody is
 * mentioned. Addresses it links by itself, of incoming webhooks whatever they ask for, so they are broken up invisibly.
 */
function plain(text: string): string {
  const short = text.length > MAX_PART ? `${text.slice(0, MAX_PART).toWellFormed()}…` : text;
  return short
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll(/[.:@#](?=[\w/])/g, (mark) => `${mark}${ZERO_WIDTH_SPACE}`);
}
