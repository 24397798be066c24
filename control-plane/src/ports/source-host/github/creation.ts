import type { z } from "zod";
import { openHostClient } from "../host-client.ts";
import type { GitHubConfig } from "../host-config.ts";
import { apiUrlOf, titleOf } from "./github.ts";
import { convertManifestCode, gitHubAppManifest, manifestFormUrl, type PlatformUrls } from "./manifest.ts";

/** A GitHub App for this platform, about to be made at this GitHub. */
export function newGitHubApp(
  place: {
    readonly url: string;
    readonly apiUrl?: string | undefined;
    /** PEM of a certificate authority to trust besides the well-known ones. */
    readonly ca?: string | undefined;
  },
  { name, ...urls }: PlatformUrls & { readonly name: string },
) {
  const manifest = JSON.stringify(gitHubAppManifest(name, urls));
  return {
    form: (state: string, organization: string | undefined) => ({
      action: manifestFormUrl(place.url, { state, organization }).href,
      manifest,
    }),

    /** @throws SignInRefused, HostUnavailable */
    async convert(code: string, signal: AbortSignal): Promise<z.input<typeof GitHubConfig>> {
      const title = titleOf(place);
      const { url: webUrl, ca } = place;
      await using client = openHostClient({ title, ca });
      const made = await convertManifestCode(
        { client, webUrl, apiUrl: apiUrlOf(place), title },
        code,
        signal,
      );
      return ca === undefined ? made : { ...made, ca };
    },
  };
}
