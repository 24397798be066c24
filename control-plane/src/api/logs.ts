import type { LogPage } from "../ports/log-store/log-store.ts";
import { sanitiseLogText } from "../ports/log-store/sanitise.ts";
import type { LogPageView } from "./views.ts";

/** A page of a log, made harmless for whoever shows it. */
export function toLogPageView(page: LogPage): LogPageView {
  return {
    lines: page.lines.map(({ at, source, text }) => ({ at, source, text: sanitiseLogText(text) })),
    cursor: page.cursor,
    ended: page.ended,
  };
}
