import { useQuery, useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, use, useEffect, useState } from "react";
import { Unreachable } from "./components/unreachable.tsx";
import { useConnection } from "./connection.ts";
import { type Person, useTRPC } from "./trpc.ts";

const PersonContext = createContext<Person | undefined>(undefined);

/** Renders its children for the person who is signed in, and `signedOut` where nobody is. */
export function Session({ signedOut, children }: { signedOut: ReactNode; children: ReactNode }) {
  const queryClient = useQueryClient();
  const trpc = useTRPC();
  const connection = useConnection();
  const session = useQuery(
    trpc.session.current.queryOptions(undefined, {
      refetchInterval: connection.kind === "lost" ? 3_000 : 60_000,
    }),
  );
  const person = session.data;

  const subject = person === undefined ? undefined : (person?.subject ?? null);
  const [shownTo, setShownTo] = useState<string | null>();

  useEffect(() => {
    if (subject === undefined || subject === shownTo) return;
    // What one person saw is not kept for the next: nothing is shown until it is gone.
    const kept = JSON.stringify(trpc.session.current.queryKey());
    queryClient.removeQueries({ predicate: (query) => JSON.stringify(query.queryKey) !== kept });
    setShownTo(subject);
  }, [subject, shownTo, queryClient, trpc]);

  if (person === undefined)
    return session.isError ? (
      <Unreachable error={session.error} retry={() => void session.refetch()} />
    ) : null;
  if (subject !== shownTo) return null;
  if (person === null) return signedOut;
  return <PersonContext value={person}>{children}</PersonContext>;
}

/** Slugs of the owners that the person may act for. Only below `Session`. */
export function useOwners(): readonly string[] {
  return usePerson().owners.map(({ slug }) => slug);
}

/** Only below `Session`. */
export function usePerson(): Person {
  const person = use(PersonContext);
  if (person === undefined) throw new Error("usePerson was called outside Session");
  return person;
}
