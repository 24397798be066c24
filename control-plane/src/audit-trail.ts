import { join } from "node:path";
import type { Secret } from "@openfaas-cloud/shared/env.ts";
import { ensureKeyFile } from "./access/key-file.ts";
import type { ControlPlaneConfig } from "./config.ts";
import type { Logger } from "./logger.ts";
import type { AuditReceiver, AuditSink } from "./ports/audit-sink/audit-sink.ts";
import { openHeadExport } from "./ports/audit-sink/export-head.ts";
import { makeHeadKey, openHeadSigner } from "./ports/audit-sink/head.ts";
import { openLogReceiver } from "./ports/audit-sink/log.ts";
import { openAuditTrail } from "./ports/audit-sink/trail.ts";
import type { WebhookReceiver } from "./ports/audit-sink/webhook.ts";
import type { Store } from "./ports/store/store.ts";

/** Of the composition root: the trail, everybody who is told of it, and its heads that are exported. */
export async function openAudit(options: {
  readonly store: Store;
  readonly dataDir: string;
  readonly receivers: ControlPlaneConfig["auditReceivers"];
  readonly logger: Logger;
}): Promise<AuditSink & AsyncDisposable> {
  const { store, dataDir, logger } = options;
  await using opened = new AsyncDisposableStack();
  const { webhook: webhookOptions, slackUrl } = options.receivers;
  const webhook = webhookOptions && opened.use(await openWebhook(webhookOptions));
  const slack = slackUrl === undefined ? undefined : opened.use(await openSlack(slackUrl));
  const receivers = [openLogReceiver(logger), webhook, slack].filter((it) => it !== undefined);
  const trail = opened.use(await openAuditTrail({ store, receivers, logger }));
  const key = await ensureKeyFile(join(dataDir, "keys", "audit.json"), makeHeadKey);
  opened.use(
    await openHeadExport({
      store,
      signer: await openHeadSigner(key),
      file: join(dataDir, "audit", "heads"),
      ...(webhook && { tell: webhook.deliverHead }),
      onError: (error) => logger.error({ err: error }, "the audit trail's head was not exported"),
    }),
  );
  const close = opened.move();
  return { append: trail.append, [Symbol.asyncDispose]: () => close.disposeAsync() };
}

// Loaded only where they are asked for: what they speak HTTP with is most of what they need.

async function openWebhook(options: {
  readonly url: string;
  readonly secret: Secret;
}): Promise<WebhookReceiver> {
  const { openWebhookReceiver } = await import("./ports/audit-sink/webhook.ts");
  return openWebhookReceiver(options);
}

async function openSlack(url: string): Promise<AuditReceiver & AsyncDisposable> {
  const { openSlackReceiver } = await import("./ports/audit-sink/slack.ts");
  return openSlackReceiver({ url });
}
