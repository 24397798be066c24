import { z } from "zod";
import type { ApiCall, GitHubApi } from "./api.ts";
import type { GitHubApp } from "./app.ts";

const MOST_PAGES = 50;
const MOST_AT_ONCE = 100;
/** What failed so often fails for a reason that another attempt does not mend. */
const MOST_ATTEMPTS = 5;

const HookDelivery = z.object({
  id: z.union([z.int(), z.string().regex(/^\d+$/)]),
  guid: z.string(),
  delivered_at: z.string(),
  status_code: z.int(),
});
type HookDelivery = z.infer<typeof HookDelivery>;

/** Has GitHub send again what none of its attempts brought here (docs.github.com: "Redelivering webhooks"). */
export async function redeliverFailed(
  { api, app }: { readonly api: GitHubApi; readonly app: GitHubApp },
  since: Date,
  signal: AbortSignal,
): Promise<number> {
  const attempts = Map.groupBy(await listAttempts(api, app, since, signal), ({ guid }) => guid);
  const failed = [...attempts.values()].filter(
    (all) => all.length < MOST_ATTEMPTS && !all.some(({ status_code }) => isDelivered(status_code)),
  );
  // The newest comes first in GitHub's list, and goes last here.
  const chosen = failed.reverse().slice(0, MOST_AT_ONCE);
  for (const [newest] of chosen) {
    if (newest !== undefined) await attempt(api, app, newest, signal);
  }
  return chosen.length;
}

async function listAttempts(
  api: GitHubApi,
  app: GitHubApp,
  since: Date,
  signal: AbortSignal,
): Promise<HookDelivery[]> {
  const path = "/app/hook/deliveries";
  const call: ApiCall = { method: "GET", path, query: { per_page: "100" }, token: await app.jwt(), signal };
  const found: HookDelivery[] = [];
  let answer = await api.send(call);
  for (let pages = 1; ; pages++) {
    const page = api.parse(answer, z.array(HookDelivery), call);
    const recent = page.filter(({ delivered_at }) => Date.parse(delivered_at) >= since.getTime());
    found.push(...recent);
    const next = api.nextPage(answer);
    if (next === undefined || recent.length < page.length || pages === MOST_PAGES) return found;
    answer = await api.sendTo(next, call);
  }
}

async function attempt(
  api: GitHubApi,
  app: GitHubApp,
  { id }: HookDelivery,
  signal: AbortSignal,
): Promise<void> {
  const path = `/app/hook/deliveries/${id}/attempts`;
  const call: ApiCall = { method: "POST", path, token: await app.jwt(), signal };
  const answer = await api.send(call);
  // 422: GitHub keeps it no longer.
  if (answer.status !== 202 && answer.status !== 422) throw api.unexpected(answer, call);
}

function isDelivered(status: number): boolean {
  return status >= 200 && status <= 299;
}
