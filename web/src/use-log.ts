import { useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useReducer, useRef, useState } from "react";
import { appendLines, emptyLog, type LogBuffer, type LogLine } from "./log-buffer.ts";
import { refusalCode, useTRPC, useTRPCClient } from "./trpc.ts";
import { useVisible } from "./use-visible.ts";

export interface Log {
  readonly buffer: LogBuffer;
  readonly state: LogState;
}

export type LogState =
  | { readonly kind: "connecting" }
  | { readonly kind: "following" }
  | { readonly kind: "ended" }
  /** Refused for good; asking again would get the same answer. */
  | { readonly kind: "refused"; readonly reason: string };

interface TrackedPage {
  readonly id: string;
  readonly data: { readonly lines: readonly LogLine[]; readonly ended: boolean };
}

interface Follower {
  readonly onStarted: () => void;
  readonly onData: (page: TrackedPage) => void;
  readonly onError: (error: Error) => void;
  readonly onComplete: () => void;
}

type Follow = (lastEventId: string | undefined, follower: Follower) => { unsubscribe(): void };

const retryMs = 3_000;

export function useRunLog(id: string, maxLines: number): Log {
  const client = useTRPCClient();
  const follow = useCallback<Follow>(
    (lastEventId, follower) => client.runs.log.subscribe({ id, ...cursor(lastEventId) }, follower),
    [client, id],
  );
  return useLog(follow, maxLines);
}

export function useFunctionLog(owner: string, name: string, maxLines: number): Log {
  const client = useTRPCClient();
  const follow = useCallback<Follow>(
    (lastEventId, follower) =>
      client.functions.log.subscribe({ owner, name, ...cursor(lastEventId) }, follower),
    [client, owner, name],
  );
  return useLog(follow, maxLines);
}

/** Follows from where it stopped after a lost connection or a while behind other tabs. */
function useLog(follow: Follow, maxLines: number): Log {
  const trpc = useTRPC();
  const queryClient = useQueryClient();
  const visible = useVisible();
  const append = useCallback(
    (buffer: LogBuffer, lines: readonly LogLine[]) => appendLines(buffer, lines, maxLines),
    [maxLines],
  );
  const [buffer, appendToBuffer] = useReducer(append, emptyLog);
  const [state, setState] = useState<LogState>({ kind: "connecting" });
  const [attempt, setAttempt] = useState(0);
  const lastEventId = useRef<string>(undefined);
  const over = useRef(false);

  // biome-ignore lint/correctness/useExhaustiveDependencies: a new attempt is what makes it follow again
  useEffect(() => {
    if (!visible || over.current) return;
    let stopped = false;
    let retry: ReturnType<typeof setTimeout> | undefined;
    const again = () => {
      if (stopped || over.current) return;
      setState({ kind: "connecting" });
      retry = setTimeout(() => setAttempt((count) => count + 1), retryMs);
    };
    const end = (state: LogState) => {
      over.current = true;
      setState(state);
    };
    const subscription = follow(lastEventId.current, {
      onStarted: () => {
        if (!stopped) setState({ kind: "following" });
      },
      onData: ({ id, data }) => {
        if (stopped) return;
        lastEventId.current = id;
        appendToBuffer(data.lines);
        if (data.ended) end({ kind: "ended" });
      },
      onError: (error) => {
        if (stopped) return;
        const code = refusalCode(error);
        if (code === "UNAUTHORIZED") void queryClient.invalidateQueries(trpc.session.current.pathFilter());
        if (code === undefined) again();
        else end({ kind: "refused", reason: error.message });
      },
      onComplete: again,
    });
    return () => {
      stopped = true;
      clearTimeout(retry);
      subscription.unsubscribe();
    };
  }, [follow, visible, attempt, queryClient, trpc]);

  return { buffer, state };
}

function cursor(lastEventId: string | undefined): { lastEventId?: string } {
  return lastEventId === undefined ? {} : { lastEventId };
}
