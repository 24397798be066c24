import type { Platform } from "./supervisor.ts";

/** What a person is told once everything runs: lines to click or to copy. */
export function announcement(platform: Platform): string {
  const { owner, token, gitBaseUrl, exampleUrl, tokenFile, listensOn } = platform;
  const who = token === undefined ? owner : `${owner}:${token}`;
  const git = `${gitBaseUrl.replace("://", `://${who}@`)}/${owner}/<repository>.git`;
  const rows: [string, string][] = [
    ["Sign in", `${platform.signInUrl}  (works once)`],
    ["Dashboard", platform.dashboardUrl],
    ...(exampleUrl === null ? [] : [["Try", `curl ${exampleUrl}`] satisfies [string, string]]),
    ["Deploy", `git remote add cloud ${git}`],
    ["", "git push cloud main"],
    ...(token === undefined ? [["Token", revoked(tokenFile)] satisfies [string, string]] : []),
    ...(listensOn === undefined
      ? []
      : [["Listens", `${listensOn}, for a proxy on this machine`] satisfies [string, string]]),
    ["Metrics", `${platform.edgeMetricsUrl}  (edge)`],
    ["", `${platform.controlPlaneMetricsUrl}  (control plane)`],
    ["Isolation", platform.isolation],
    ["Data", `${platform.data}  (logs in ${platform.data}/logs)`],
  ];
  const table = rows.map(([label, value]) => `  ${label.padEnd(9)}  ${value}`).join("\n");
  return `\nOpenFaaS Cloud is ready.\n\n${table}\n\nCtrl-C stops it; the next start finds everything as it is.\n`;
}

function revoked(file: string): string {
  return `that of this command was revoked; remove ${file} and start again for a new one`;
}

/** The same for programs, as one line of JSON. */
export function announcementForPrograms(platform: Platform): string {
  const { dashboardUrl, signInUrl, gitBaseUrl, token, exampleUrl } = platform;
  const { edgeMetricsUrl, controlPlaneMetricsUrl, pids, owner, listensOn } = platform;
  return `${JSON.stringify({
    dashboardUrl,
    signInUrl,
    gitBaseUrl,
    owner,
    token,
    exampleUrl,
    listensOn,
    edgeMetricsUrl,
    controlPlaneMetricsUrl,
    pids,
  })}\n`;
}
