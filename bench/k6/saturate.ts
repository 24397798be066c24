import http from "k6/http";
import type { Options } from "k6/options";
import { asFastAs, COMMON, isAnswered, setting } from "./common.ts";

// One function by its pretty URL, as fast as it answers 64 clients.

export const options: Options = { ...COMMON, scenarios: { saturate: asFastAs(64) } };

const url = setting("URL");

export default function (): void {
  isAnswered(http.get(url), ({ body }) => body === setting("ANSWER"));
}
