import { check } from "k6";
import http from "k6/http";
import type { Options } from "k6/options";
import { atRate, COMMON, isAnswered, setting } from "./common.ts";

// A function that asks for who is signed in, with a session token, at a fixed rate. Now and then somebody comes without one.

export const options: Options = { ...COMMON, scenarios: { invoke: atRate(Number(setting("RATE"))) } };

const url = setting("URL");
const headers = { Authorization: `Bearer ${setting("TOKEN")}` };
const EVERY = 50;
const turnedAway = http.expectedStatuses(401, 302, 303, 307);

export default function (): void {
  isAnswered(http.get(url, { headers }), ({ body }) => body === setting("ANSWER"));
  if (__ITER % EVERY === 0) {
    const { status } = http.get(url, { redirects: 0, responseCallback: turnedAway });
    check(status, { "turned away without a session": (code) => code !== 200 });
  }
}
