/** How times, sizes and commits are written, in one place. English, the 24 hour clock, the person's time zone. */

const locale = "en-GB";
const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" });
const clockWithSeconds = new Intl.DateTimeFormat(locale, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const dayAndClock = new Intl.DateTimeFormat(locale, {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});
const full = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "long" });
const day = new Intl.DateTimeFormat(locale, { dateStyle: "medium" });
const count = new Intl.NumberFormat(locale);

export function formatCount(value: number): string {
  return count.format(value);
}

/** `1 line`, `1,204 lines` */
export function formatPlural(value: number, noun: string): string {
  return `${formatCount(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** `14:02` today, `21 Nov, 14:02` on any other day */
export function formatClock(at: number, now: number): string {
  const sameDay = new Date(at).toDateString() === new Date(now).toDateString();
  return (sameDay ? clock : dayAndClock).format(at);
}

export function formatClockWithSeconds(at: number): string {
  return clockWithSeconds.format(at);
}

/** `21 Nov 2026` */
export function formatDay(at: number): string {
  return day.format(at);
}

export function formatFull(at: number): string {
  return full.format(at);
}

/** `just now`, `5 min ago`, `3 h ago`, `2 d ago` */
export function formatAge(at: number, now: number): string {
  const seconds = Math.max(0, Math.floor((now - at) / 1_000));
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ago`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ago`;
  return `${Math.floor(hours / 24)} d ago`;
}

/** `310 ms`, `8.2 s`, `42 s`, `3 min 05 s`, `1 h 02 min` */
export function formatDuration(ms: number): string {
  if (ms < 999.5) return `${Math.max(0, Math.round(ms))} ms`;
  const tenths = Math.round(ms / 100);
  if (tenths < 100) return `${(tenths / 10).toFixed(1)} s`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${pad(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
}

/** `0.4 ms`, `8 ms`, `1.24 s` */
export function formatLatency(ms: number): string {
  if (ms < 1) return `${ms.toFixed(1)} ms`;
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  return `${(ms / 1_000).toFixed(2)} s`;
}

/** `512 B`, `128 MiB`, `1.5 GiB` */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1_024 && unit < units.length - 1) {
    value /= 1_024;
    unit += 1;
  }
  return `${Number(value.toFixed(1))} ${units[unit]}`;
}

export function shortCommit(commit: string): string {
  return commit.slice(0, 7);
}

/** `sha256:9c41d0f2ab77`, or what is left of an artifact that is named in another way. */
export function shortArtifact(artifact: string): string {
  const digest = /^(.*?)([a-z0-9]+:)([0-9a-f]{12})[0-9a-f]+$/.exec(artifact);
  return digest === null ? artifact : `${digest[2]}${digest[3]}`;
}

/** `Alice Liddell` of `Alice Liddell <alice@example.org>` */
export function authorName(author: string): string {
  return author.replace(/\s*<[^<>]*>\s*$/, "") || author;
}

export function firstLine(message: string): string {
  return message.trim().split("\n", 1)[0] ?? "";
}

/** A URL as it is read: `alice.localhost:8080/hello` */
export function shortUrl(url: string): string {
  return url.replace(/^https?:\/\//, "");
}

interface Serving {
  readonly state: "live" | "degraded" | "down";
  readonly commit: string;
  readonly branch: string;
  readonly deployedAt: number;
  readonly replicas: { readonly ready: number; readonly wanted: number };
}

interface HourOfUsage {
  readonly success: number;
  readonly failure: number;
  readonly p95Ms?: number | undefined;
}

/** What a person can read aloud: what serves, since when, how well. */
export function describeServing(serving: Serving, hour: HourOfUsage | undefined, now: number): string {
  const revision = `commit ${shortCommit(serving.commit)} of ${serving.branch}`;
  const since = formatClock(serving.deployedAt, now);
  const what =
    serving.state === "down"
      ? `Not answering: ${revision}, deployed ${since}, is being started again`
      : `Serving ${revision} since ${since}`;
  const parts = [what, `${serving.replicas.ready} of ${serving.replicas.wanted} replicas ready`];
  if (hour !== undefined) {
    const invocations = hour.success + hour.failure;
    parts.push(
      invocations === 0
        ? "no invocations in the last hour"
        : `${formatPlural(invocations, "invocation")} in the last hour`,
    );
    if (hour.failure > 0) parts.push(`${formatCount(hour.failure)} of them failed`);
    if (hour.p95Ms !== undefined) parts.push(`p95 ${formatLatency(hour.p95Ms)}`);
  }
  return `${parts.join(", ")}.`;
}

function pad(value: number): string {
  return String(value).padStart(2, "0");
}

export function badgePath(owner: string, name: string): string {
  return `/badge/${owner}/${name}.svg`;
}

/** The badge in Markdown, with a link to the function's page. Neither name can hold anything that Markdown would read. */
export function badgeMarkdown(origin: string, owner: string, name: string): string {
  return `[![${name} on OpenFaaS Cloud](${origin}${badgePath(owner, name)})](${origin}/dashboard/${owner}/${name})`;
}
