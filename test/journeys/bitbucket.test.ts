import { expect, test } from "vitest";
import { bringDelivery } from "../../control-plane/test/support/bring-delivery.ts";
import { FakeBitbucketCloud } from "../../control-plane/test/support/fake-bitbucket-cloud.ts";
import { FakeBitbucketDataCenter } from "../../control-plane/test/support/fake-bitbucket-data-center.ts";
import { TestBrowser } from "../support/browser.ts";
import { seesNothingOf } from "../support/dashboard-pages.ts";
import { eventually } from "../support/eventually.ts";
import { ADDRESSES_TO_COME, register, startLinkedPlatform } from "../support/linked-platform.ts";
import { part } from "../support/parts.ts";
import { pictures } from "../support/pictures.ts";
import { handlerSaying, stackFile } from "../support/repository.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const DEPLOY_MS = 60_000;
/** What a person may do on the source host holds here within a minute. */
const REVOKED_MS = 60_000;
/** Hosts are read once a minute, a few seconds more or less, and what is gone there is asked for again by its id. */
const READ_MS = 75_000;

interface Vendor {
  readonly kind: string;
  readonly open: () => Promise<FakeBitbucketCloud | FakeBitbucketDataCenter>;
  /** What its configuration has that the other's has not. */
  readonly settings: (url: string) => Readonly<Record<string, unknown>>;
}

const VENDORS: readonly Vendor[] = [
  {
    kind: "bitbucket-cloud",
    open: () => FakeBitbucketCloud.open(ADDRESSES_TO_COME),
    settings: (url) => ({ apiUrl: url, workspaces: ["acme"] }),
  },
  {
    kind: "bitbucket-datacenter",
    open: () => FakeBitbucketDataCenter.open(ADDRESSES_TO_COME),
    settings: () => ({}),
  },
];

part("chromium")("a platform that is linked to Bitbucket", () => {
  test.concurrent.for(VENDORS)(
    "deploys what is pushed, signs people in, and forgets who left and what was deleted ($kind)",
    { timeout: 240_000 },
    async ({ kind, open, settings }) => {
      await using folder = await temporaryFolder();
      await using bitbucket = await open();
      const { url, token, webhookSecrets, client } = bitbucket;
      await using platform = await startLinkedPlatform(folder.path, [
        {
          kind,
          url,
          token,
          webhookSecrets,
          oauth: { id: client.id, secret: client.secret },
          ...settings(url),
        },
      ]);
      const { dashboardUrl } = platform.ready;
      register(platform, bitbucket);
      await using browser = await TestBrowser.open();

      // A repository whose webhook points here deploys with its first push.
      const site = await bitbucket.addRepository({ isPrivate: true });
      const push = async (files: Readonly<Record<string, string>>) => {
        const commit = await bitbucket.pushFiles(site.key, files);
        const { headers, body } = await bitbucket.pushDelivery({ ...site, commit }, { secret: 0 });
        expect(await bringDelivery(bitbucket.webhookUrl, headers as Record<string, string>, body)).toBe(202);
        return commit;
      };
      const helloUrl = platform.functionUrl("hello").replace("//alice.", "//acme.");
      const answer = async () => (await platform.get(helloUrl).catch(() => undefined))?.body;
      const statusesOf = async (commit: typeof site.commit) => {
        const statuses = await bitbucket.statuses(site.key, commit);
        return statuses.map(({ context, state }) => `${context}: ${state}`).toSorted();
      };
      const files = { "stack.yml": stackFile("hello"), "hello/handler.js": handlerSaying("from Bitbucket") };
      const first = await push(files);
      await eventually("it is live", async () => (await answer()) === "from Bitbucket", {
        withinMs: DEPLOY_MS,
      });
      const green = ["hello: success", "stack-deploy: success"].join();
      await eventually("its builds are green", async () => (await statusesOf(first)).join() === green);

      // What the build links to asks somebody to sign in, and brings them back to itself.
      const [{ targetUrl } = { targetUrl: "" }] = await bitbucket.statuses(site.key, first);
      await bitbucket.setRole("developer");
      const context = await browser.newContext();
      const person = await context.newPage();
      await person.goto(targetUrl);
      await pictures(context, person.url(), `${kind}-sign-in`);
      await person.getByRole("link", { name: /Continue with Bitbucket/ }).click();
      await person.getByRole("button", { name: "Grant access" }).click();
      await person.waitForURL(targetUrl);
      await person.getByText("Succeeded").first().waitFor();

      await person.goto(`${dashboardUrl}repositories/acme`);
      const row = person.getByRole("row").filter({ hasText: site.ref.name });
      await row.getByText("private").waitFor();
      await row.getByText("Succeeded").waitFor();
      await pictures(context, person.url(), `${kind}-repositories`);

      // A push deploys.
      const second = await push({ "hello/handler.js": handlerSaying("pushed") });
      await eventually("the push is live", async () => (await answer()) === "pushed", {
        withinMs: DEPLOY_MS,
      });
      await eventually("its builds are green", async () => (await statusesOf(second)).join() === green);
      expect(browser.complaints).toEqual([]);

      // Who leaves sees nothing of it any more, and what is deleted answers no more, though nobody told the platform.
      await bitbucket.setRole(undefined);
      await bitbucket.remove(site.key);
      await Promise.all([
        eventually("access is gone", () => seesNothingOf(person, dashboardUrl, "acme"), {
          withinMs: REVOKED_MS,
          everyMs: 500,
        }),
        eventually("it is not routed", async () => (await platform.get(helloUrl)).status === 404, {
          withinMs: READ_MS,
          everyMs: 500,
        }),
      ]);
    },
  );
});
