import http from "k6/http";
import type { Options } from "k6/options";
import { atRate, COMMON, isAnswered, setting } from "./common.ts";

// One function by its pretty URL, at a fixed rate.

export const options: Options = { ...COMMON, scenarios: { invoke: atRate(Number(setting("RATE"))) } };

const url = setting("URL");

export default function (): void {
  isAnswered(http.get(url), ({ body }) => body === setting("ANSWER"));
}
