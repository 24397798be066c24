import { pino } from "pino";
import type { LogLevel } from "./config.ts";
import type { LineOutput } from "./line-output.ts";

export type Logger = pino.Logger;

/** JSON lines. */
export function openLogger(level: LogLevel, output: LineOutput): Logger {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, output);
}
