import { memo } from "react";
import { formatClockWithSeconds, formatFull } from "../format.ts";
import type { LogBlock as Block } from "../log-buffer.ts";

/** Drawn by the browser only when in view (`content-visibility`), rendered by React only when it changed. */
export const LogBlock = memo(function LogBlock({ block }: { block: Block }) {
  return (
    <div className="log-block" style={{ containIntrinsicHeight: `auto ${block.lines.length * 1.5}em` }}>
      {block.lines.map((line, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: together they are the number of the line
        <div key={block.first + index} className="log-line">
          <span className="log-time" title={formatFull(line.at)}>
            {formatClockWithSeconds(line.at)}
          </span>
          <span className="log-source" title={line.source}>
            {line.source}
          </span>
          <span className="log-text">{line.text}</span>
        </div>
      ))}
    </div>
  );
});
