import { shortCommit } from "../format.ts";

export function Commit({ commit }: { commit: string }) {
  return <code title={commit}>{shortCommit(commit)}</code>;
}
