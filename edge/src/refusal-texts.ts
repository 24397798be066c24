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

export function rateExceeded(waitMs: number): Refusal {
  return {
    status: 429,
    code: "rate-exceeded",
    message: "This function is called more often than it may be. Call it less often, or try again shortly.",
    retryAfterS: Math.ceil(waitMs / 1000),
  };
}

export function bodyTooLarge(maxBodyBytes: number): Refusal {
  return {
    status: 413,
    code: "body-too-large",
    message: `The request body is larger than the ${maxBodyBytes} bytes that are allowed here.`,
    close: true,
  };
}

export function signedOut(dashboard: string): Refusal {
  return {
    status: 401,
    code: "signed-out",
    message: "This function answers only to people who are signed in. Send an access token as a bearer.",
    links: [{ href: `//${dashboard}`, text: "Sign in at the dashboard" }],
  };
}

export const TOKEN_MISSING: Refusal = {
  status: 401,
  code: "signed-out",
  message: "This function answers only to an access token of its owner's members. Send one as a bearer.",
};

/** About the token alone: the same whatever function was called with it. */
export const SCOPE_LACKING: Refusal = {
  status: 403,
  code: "scope-missing",
  message:
    "This access token lacks the scope invoke, so it opens no functions. Make one that has it on the dashboard's account page.",
};

export const NO_MEMBER: Refusal = {
  status: 403,
  code: "forbidden",
  message: "You are signed in, but this function answers only to members of its owner.",
};

export const FROM_ANOTHER_SITE: Refusal = {
  status: 403,
  code: "cross-site",
  message:
    "A page of another site made your browser ask for this. Open it yourself, or send an access token.",
};

export const NOT_CHECKED: Refusal = {
  status: 503,
  code: "token-not-checked",
  message: "Whether this access token counts cannot be found out at the moment. Try again shortly.",
  retryAfterS: 1,
};

export const NOT_FORWARDABLE: Refusal = {
  status: 400,
  code: "header-invalid",
  message: "A header of this request cannot be forwarded.",
};
