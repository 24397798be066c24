import { pino } from "pino";
import type { LogLevel } from "./config.ts";

export type Logger = pino.Logger;

const FLUSH_EVERY_MS = 500;
const BUFFER_BYTES = 8 * 1024;

export interface LogOutput extends Disposable {
  readonly logger: Logger;
}

/** JSON lines on standard output, written in batches: a line per request must not cost a system call per request. */
export function openLog(level: LogLevel): LogOutput {
  const destination = pino.destination({ dest: 1, sync: false, minLength: BUFFER_BYTES });
  const logger = pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination);
  const timer = setInterval(() => destination.flush(), FLUSH_EVERY_MS).unref();
  return {
    logger,
    [Symbol.dispose]() {
      clearInterval(timer);
      destination.flushSync();
    },
  };
}
