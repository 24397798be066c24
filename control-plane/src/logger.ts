import { type Logger, pino } from "pino";

export type { Logger };

export function openLogger(level: string): Logger {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime });
}
