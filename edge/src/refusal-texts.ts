import type { Failures, Refusal } from "./refusal.ts";

export const FAULT: Refusal = {
  status: 500,
  code: "edge-fault",
  message: "Something went wrong here. The request id will help to find out what.",
  close: true,
};

export const NOT_READY: Refusal = {
  status: 503,
  code: "not-ready",
  message: "The platform has just started and does not know its functions yet. Try again shortly.",
  retryAfterS: 1,
};

export const INTERNAL: Refusal = { status: 404, code: "not-found", message: "There is nothing here." };

/** The control plane leaves out replicas that do not answer, and starts them again. */
export const NO_REPLICA: Refusal = {
  status: 503,
  code: "no-replica",
  message:
    "This function has no replica that answers at the moment. It is being started again. Try again shortly.",
  retryAfterS: 5,
};

export const FUNCTION_BUSY: Refusal = {
  status: 429,
  code: "too-many-requests",
  message: "This function has as many requests under way as it may have. Try again shortly.",
  retryAfterS: 1,
};

export const SYSTEM_BUSY: Refusal = {
  status: 429,
  code: "too-many-requests",
  message: "The dashboard and the API have as many requests under way as they may have. Try again shortly.",
  retryAfterS: 1,
};

export const FUNCTION_FAILURES: Failures = {
  absent: NO_REPLICA,
  unreachable: {
    status: 502,
    code: "upstream-unreachable",
    message: "The function cannot be reached at present. Try again shortly.",
    retryAfterS: 1,
  },
  broken: {
    status: 502,
    code: "upstream-broken",
    message: "The function broke off or did not answer in HTTP.",
  },
  late: { status: 504, code: "upstream-late", message: "The function did not answer in time." },
};

const CONTROL_PLANE_DOWN: Refusal = {
  status: 503,
  code: "control-plane-down",
  message:
    "The dashboard and the API are not available at present. Functions that are live keep serving. Try again shortly.",
  retryAfterS: 5,
};

export const SYSTEM_FAILURES: Failures = {
  absent: CONTROL_PLANE_DOWN,
  unreachable: CONTROL_PLANE_DOWN,
  broken: {
    status: 502,
    code: "control-plane-broken",
    message: "The dashboard or the API broke off. Try again.",
  },
  late: {
    status: 504,
    code: "control-plane-late",
    message: "The dashboard or the API did not answer in time.",
  },
};

export const BODY_IDLE: Refusal = {
  status: 408,
  code: "body-idle",
  message: "The request body did not arrive in time.",
  close: true,
};

export const CLIENT_STALLED: Refusal = {
  status: 408,
  code: "client-stalled",
  message: "The answer was not read in time.",
  close: true,
};

export const HEAD_LATE: Refusal = {
  status: 408,
  code: "request-invalid",
  message: "The request's head did not arrive in time.",
  close: true,
};
