import { accessSync, constants } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";

/** What some benches start and the project does not bring along, and how this machine gets it. */
const HOW_TO_GET = {
  wrk: "apt-get install wrk",
  nginx: "apt-get install nginx-light",
  haproxy: "apt-get install haproxy",
  caddy: "apt-get install caddy",
  k6: "go install go.k6.io/k6@latest",
  go: "apt-get install golang-go",
} as const;

export type Program = keyof typeof HOW_TO_GET;

/** Servers are not on the PATH of everybody who may run them. */
const SYSTEM_FOLDERS = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/** `go install` puts programs where few PATHs lead: `go env GOPATH` is asked for without starting go. */
function goFolders(): string[] {
  const { GOBIN, GOPATH } = process.env;
  const path = GOPATH ?? join(homedir(), "go");
  return [...(GOBIN === undefined ? [] : [GOBIN]), ...path.split(delimiter).map((each) => join(each, "bin"))];
}

export function findProgram(name: string): string | undefined {
  const path = (process.env["PATH"] ?? "").split(delimiter);
  return [...path, ...SYSTEM_FOLDERS, ...goFolders()]
    .filter((folder) => folder.startsWith("/"))
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

/** @throws KnownError `program-missing` that says how to get it */
export function getProgram(name: Program): string {
  const found = findProgram(name);
  if (found === undefined)
    throw new KnownError(
      "program-missing",
      `${name} is not on this machine. Get it with: ${HOW_TO_GET[name]}`,
    );
  return found;
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
