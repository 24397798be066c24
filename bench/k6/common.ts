import { check } from "k6";
import type { RefinedResponse, ResponseType } from "k6/http";

/** What the bench that runs a script tells it. */
export function setting(name: string): string {
  const value = __ENV[name];
  if (value === undefined) throw new Error(`${name} is not set: run this by npm run bench`);
  return value;
}

export const SECONDS = Number(setting("SECONDS"));

/** All names are this machine, what is slow is told to the last percent, and nothing may fail. */
export const COMMON = {
  hosts: { "*.localhost": "127.0.0.1" },
  summaryTrendStats: ["min", "med", "p(95)", "p(99)", "max"],
  thresholds: { http_req_failed: ["rate==0"], checks: ["rate==1"] },
};

/** By the clock: the next request does not wait for the answers before it. */
export function atRate(perSecond: number) {
  return {
    executor: "constant-arrival-rate" as const,
    rate: perSecond,
    timeUnit: "1s",
    duration: `${SECONDS}s`,
    preAllocatedVUs: 64,
    maxVUs: 512,
  };
}

/** Everybody asks again as soon as they were answered. */
export function asFastAs(vus: number) {
  return { executor: "constant-vus" as const, vus, duration: `${SECONDS}s` };
}

export function isAnswered<T extends ResponseType | undefined>(
  response: RefinedResponse<T>,
  isRight: (response: RefinedResponse<T>) => boolean,
): void {
  check(response, { "answered 200": ({ status }) => status === 200, "with the right body": isRight });
}
