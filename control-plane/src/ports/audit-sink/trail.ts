import type { Logger } from "../../logger.ts";
import type { Store } from "../store/store.ts";
import type { AuditReceiver, AuditSink } from "./audit-sink.ts";
import { Follower } from "./follower.ts";
import { openStoreAuditSink } from "./store.ts";

/**
 * The audit trail: events are appended to the store, and from there brought to every receiver. An act waits for the store
 * alone; a receiver that is away neither delays nor fails it. Receivers are the caller's to dispose of, after this.
 */
export async function openAuditTrail(options: {
  readonly store: Store;
  readonly receivers: readonly AuditReceiver[];
  readonly logger: Logger;
  readonly pollMs?: number;
  readonly firstPauseMs?: number;
}): Promise<AuditSink & AsyncDisposable> {
  const { receivers, ...rest } = options;
  await using opened = new AsyncDisposableStack();
  const followers: Follower[] = [];
  for (const receiver of receivers) {
    followers.push(opened.use(await Follower.open({ ...rest, receiver })));
  }
  const sink = openStoreAuditSink(options.store, () => {
    for (const follower of followers) follower.wake();
  });
  const close = opened.move();
  return { append: sink.append, [Symbol.asyncDispose]: () => close.disposeAsync() };
}
