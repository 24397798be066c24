import { useLayoutEffect, useRef, useState } from "react";
import { formatCount, formatPlural } from "../format.ts";
import { logText } from "../log-buffer.ts";
import type { Log } from "../use-log.ts";
import { Icon } from "./icon.tsx";
import { LogBlock } from "./log-block.tsx";

interface LogViewerProps {
  readonly log: Log;
  readonly name: string;
  /** What to say while there is no line. */
  readonly empty: string;
  readonly fileName: string;
  readonly tall?: boolean;
}

/**
 * Follows the newest line until the person scrolls up, and again from the moment they are back at the bottom.
 * Announcing every line would drown a screen reader: the log is silent, its state is not.
 */
export function LogViewer({ log, name, empty, fileName, tall = false }: LogViewerProps) {
  const { buffer, state } = log;
  const frame = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  const lastTop = useRef(0);
  /** Lines there were when the person scrolled up; `undefined` while following. */
  const [leftAt, setLeftAt] = useState<number>();

  // biome-ignore lint/correctness/useExhaustiveDependencies: a full log changes without changing its height
  useLayoutEffect(() => {
    if (following.current) toBottom(frame.current);
  }, [buffer]);

  useLayoutEffect(() => {
    const element = content.current;
    if (element === null) return;
    const observer = new ResizeObserver(() => {
      if (following.current) toBottom(frame.current);
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  function onScroll() {
    const element = frame.current;
    if (element === null) return;
    const atBottom = element.scrollHeight - element.scrollTop - element.clientHeight < 4;
    const up = element.scrollTop < lastTop.current;
    lastTop.current = element.scrollTop;
    if (atBottom) follow();
    else if (up && following.current) {
      following.current = false;
      setLeftAt(buffer.appended);
    }
  }

  function follow() {
    following.current = true;
    setLeftAt(undefined);
  }

  function resume() {
    follow();
    toBottom(frame.current);
  }

  const missed = leftAt === undefined ? 0 : buffer.appended - leftAt;
  return (
    <div className="log-viewer position-relative">
      <div className="log-head d-flex align-items-center gap-2 px-3 py-1 border-bottom small text-body-secondary">
        <span role="status">{words(log)}</span>
        <span className="ms-auto text-nowrap">{formatPlural(buffer.appended, "line")}</span>
        <button
          type="button"
          className="btn btn-sm btn-quiet"
          disabled={buffer.appended === 0}
          onClick={() => download(fileName, logText(buffer))}
        >
          <Icon name="download" className="me-1" />
          Download
        </button>
      </div>
      <div
        ref={frame}
        className={`log-frame ${leftAt === undefined ? "log-following" : ""} ${tall ? "log-tall" : ""}`}
        role="log"
        aria-live="off"
        aria-label={name}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls is scrolled with the keyboard
        tabIndex={0}
        onScroll={onScroll}
      >
        <div ref={content} className="log-content">
          {buffer.dropped > 0 && (
            <p className="log-note">
              {formatCount(buffer.dropped)} earlier lines are no longer kept on this page.
            </p>
          )}
          {buffer.blocks.map((block) => (
            <LogBlock key={block.id} block={block} />
          ))}
          {buffer.appended === 0 && (
            <p className="log-note">{state.kind === "refused" ? state.reason : empty}</p>
          )}
        </div>
      </div>
      {missed > 0 && (
        <button type="button" className="btn btn-sm btn-primary shadow log-resume" onClick={resume}>
          <Icon name="down" className="me-1" />
          {formatPlural(missed, "new line")}
        </button>
      )}
    </div>
  );
}

function words({ state }: Log): string {
  switch (state.kind) {
    case "connecting":
      return "Connecting …";
    case "following":
      return "Following";
    case "ended":
      return "Ended";
    case "refused":
      return "Not available";
  }
}

function toBottom(frame: HTMLElement | null): void {
  if (frame !== null) frame.scrollTop = frame.scrollHeight;
}

function download(fileName: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = fileName;
  anchor.click();
  URL.revokeObjectURL(url);
}
