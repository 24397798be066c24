import type { HostClient } from "../host-client.ts";
import { GrantRevoked, SignInRefused } from "../host-errors.ts";
import type { Identity, OwnerAccess, SignInProvider } from "../remote-host.ts";
import { BitbucketApi } from "./api.ts";
import type { OAuth } from "./oauth.ts";

/** Once more than it takes, since the first may be one of an earlier try that ended too. */
const MOST_RENEWALS = 2;

/** What a Bitbucket has to be asked for, as the person. */
export interface PersonQuestions {
  fetchIdentity(person: BitbucketApi, signal: AbortSignal): Promise<Identity>;
  fetchOwners(person: BitbucketApi, signal: AbortSignal): Promise<readonly OwnerAccess[]>;
}

export function openSignIn(
  { title, client, oauth }: { readonly title: string; readonly client: HostClient; readonly oauth: OAuth },
  questions: PersonQuestions,
): SignInProvider {
  const as = (accessToken: string) =>
    new BitbucketApi({
      title,
      client,
      authorization: `Bearer ${accessToken}`,
      onUnauthorized: () => new GrantRevoked(`${title} does not take the grant any more. Sign in again.`),
    });

  return {
    authorizeUrl: oauth.authorizeUrl,

    async exchange(answer, signal) {
      const grant = await oauth.exchange(answer, signal);
      try {
        return { identity: await questions.fetchIdentity(as(grant.accessToken), signal), grant };
      } catch (error) {
        if (!(error instanceof GrantRevoked)) throw error;
        throw new SignInRefused(`${title} takes the sign-in back at once. Sign in again.`, { cause: error });
      }
    },

    async fetchAccess(grant, signal) {
      let current = await oauth.current(grant, signal);
      for (let renewals = 0; ; renewals++) {
        try {
          return { grant: current, owners: await questions.fetchOwners(as(current.accessToken), signal) };
        } catch (error) {
          if (!(error instanceof GrantRevoked) || renewals === MOST_RENEWALS) throw error;
        }
        // It may have ended before its time: whether it can be renewed tells.
        current = await oauth.renew(current, signal);
      }
    },
  };
}
