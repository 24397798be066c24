export interface LogLine {
  readonly at: number;
  readonly source: string;
  readonly text: string;
}

/** Lines in blocks that never change once full, so that an appended line renders one block and not all. */
export interface LogBuffer {
  readonly blocks: readonly LogBlock[];
  /** Lines ever appended; the newest one has the number `appended - 1`. */
  readonly appended: number;
  /** Lines let go at the front to stay within the bound. */
  readonly dropped: number;
}

export interface LogBlock {
  /** Stays when lines at its front are dropped. */
  readonly id: number;
  /** Number of its first line. */
  readonly first: number;
  readonly lines: readonly LogLine[];
}

const blockSize = 200;

export const emptyLog: LogBuffer = { blocks: [], appended: 0, dropped: 0 };

export function appendLines(log: LogBuffer, lines: readonly LogLine[], maxLines: number): LogBuffer {
  if (lines.length === 0) return log;
  const blocks = [...log.blocks];
  let appended = log.appended;
  let rest = lines;
  while (rest.length > 0) {
    const last = blocks.at(-1);
    const open = last !== undefined && last.lines.length < blockSize ? last : undefined;
    const taken = rest.slice(0, blockSize - (open?.lines.length ?? 0));
    const block = {
      id: open?.id ?? appended,
      first: open?.first ?? appended,
      lines: [...(open?.lines ?? []), ...taken],
    };
    if (open === undefined) blocks.push(block);
    else blocks[blocks.length - 1] = block;
    appended += taken.length;
    rest = rest.slice(taken.length);
  }
  const dropped = Math.max(log.dropped, appended - maxLines);
  return { blocks: dropFront(blocks, dropped), appended, dropped };
}

export function logText(log: LogBuffer): string {
  return log.blocks
    .flatMap((block) => block.lines)
    .map((line) => `${new Date(line.at).toISOString()} ${line.source} ${line.text}\n`)
    .join("");
}

/** Leaves the first block shorter rather than replacing the ones behind it. */
function dropFront(blocks: readonly LogBlock[], dropped: number): readonly LogBlock[] {
  const kept = blocks.filter((block) => block.first + block.lines.length > dropped);
  const first = kept[0];
  if (first === undefined || first.first >= dropped) return kept;
  return [
    { id: first.id, first: dropped, lines: first.lines.slice(dropped - first.first) },
    ...kept.slice(1),
  ];
}
