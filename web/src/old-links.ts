/** What links of the original OpenFaaS Cloud, in old commits and READMEs, lead to here. */

/** The path with its owner in lower case: the original wrote owners as they write themselves. */
export function canonicalPath(pathname: string): string {
  return pathname.replace(/^\/[^/]+/, (owner) => owner.toLowerCase());
}

/** `?repoPath=Acme/team/site` as owner and repository, which hosts with nested groups write with the groups between. */
export function parseRepoPath(
  repoPath: string,
): { readonly owner: string; readonly repository: string } | undefined {
  const slash = repoPath.indexOf("/");
  const owner = repoPath.slice(0, Math.max(0, slash)).toLowerCase();
  const repository = repoPath.slice(slash + 1).replace(/\/+$/, "");
  return owner === "" || repository === "" ? undefined : { owner, repository };
}
