import type { HostClient } from "../host-client.ts";
import { GrantRevoked, SignInRefused } from "../host-errors.ts";
import type { Identity, OwnerAccess, SignInProvider } from "../remote-host.ts";
import { BitbucketApi } from "./api.ts";
import type { OAuth } from "./oauth.ts";

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
      const current = await oauth.current(grant, signal);
      try {
        return { grant: current, owners: await questions.fetchOwners(as(current.accessToken), signal) };
      } catch (error) {
        // It may have ended before its time; whether it may be renewed tells.
        if (!(error instanceof GrantRevoked) || current !== grant) throw error;
      }
      const renewed = await oauth.renew(grant, signal);
      return { grant: renewed, owners: await questions.fetchOwners(as(renewed.accessToken), signal) };
    },
  };
}
