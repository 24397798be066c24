import type { Route } from "@openfaas-cloud/shared/route.ts";
import type { RequestHead } from "./headers.ts";
import type { FunctionRecord } from "./record.ts";
import type { Refusal } from "./refusal.ts";

/** A place among a function's requests under way. Given back when disposed, and once however often that is done. */
export class Permit implements Disposable {
  #record: FunctionRecord | undefined;

  constructor(record: FunctionRecord) {
    this.#record = record;
    record.underWay += 1;
  }

  [Symbol.dispose](): void {
    if (this.#record === undefined) return;
    this.#record.underWay -= 1;
    this.#record = undefined;
  }
}

const TOO_BUSY: Refusal = {
  status: 429,
  code: "too-many-requests",
  message: "This function has as many requests under way as it may have. Try again shortly.",
  retryAfterS: 1,
};

/** Checks the bounds that are known before a byte is forwarded; the body's real length is watched while it streams. */
export function admit(route: Route, head: RequestHead, record: FunctionRecord): Permit | Refusal {
  const tooLarge = checkLength(head, route.limits.maxBodyBytes);
  if (tooLarge !== undefined) return tooLarge;
  return record.underWay >= route.limits.maxConcurrency ? TOO_BUSY : new Permit(record);
}

export function checkLength(head: RequestHead, maxBodyBytes: number): Refusal | undefined {
  return (head.contentLength ?? 0) > maxBodyBytes ? bodyTooLarge(maxBodyBytes) : undefined;
}

export function bodyTooLarge(maxBodyBytes: number): Refusal {
  return {
    status: 413,
    code: "body-too-large",
    message: `The request body is larger than the ${maxBodyBytes} bytes that are allowed here.`,
    close: true,
  };
}
