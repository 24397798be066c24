import { constants } from "node:fs";
import { access, mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { git, gitEnvironment } from "../../git-command.ts";

const HOOKS = fileURLToPath(new URL("./hooks", import.meta.url));

/** The bare repositories below one folder, named by the repository's id, and the one configuration they all share. */
export interface BareRepositories {
  readonly root: string;
  readonly env: Readonly<Record<string, string>>;
  /** `env` for what the platform itself writes into a repository. */
  readonly platformEnv: Readonly<Record<string, string>>;
  /** Name below `root` of an empty repository that stands in for one that does not exist yet. */
  readonly empty: string;
  nameOf(repositoryId: string): string;
  gitDirOf(repositoryId: string): string;
  ensure(repositoryId: string): Promise<void>;
  exists(repositoryId: string): Promise<boolean>;
}

export async function openBareRepositories(
  root: string,
  limits: { readonly maxPackBytes: number },
): Promise<BareRepositories> {
  // git takes a hook that cannot be executed for none at all, and then every push would pass.
  for (const hook of ["pre-receive", "update"]) await access(join(HOOKS, hook), constants.X_OK);
  await mkdir(root, { recursive: true });
  const configFile = join(root, "config");
  await writeFile(configFile, configuration(limits.maxPackBytes));
  const env = gitEnvironment(configFile);

  const present = new Set<string>();
  const making = new Map<string, Promise<void>>();

  async function ensureNamed(name: string): Promise<void> {
    if (present.has(name)) return;
    const underWay = making.get(name) ?? make(name).finally(() => making.delete(name));
    making.set(name, underWay);
    await underWay;
    present.add(name);
  }

  async function make(name: string): Promise<void> {
    const path = join(root, name);
    if (await isThere(path)) return;
    const temporary = await mkdtemp(join(root, "new-"));
    try {
      await git(["init", "--quiet", "--bare", "--template=", "--initial-branch=main", temporary], { env });
      await rename(temporary, path);
    } finally {
      await rm(temporary, { recursive: true, force: true });
    }
  }

  const nameOf = (repositoryId: string) => {
    if (!/^[\w-]{1,100}$/.test(repositoryId)) throw new Error(`not a repository id: ${repositoryId}`);
    return `${repositoryId}.git`;
  };
  const empty = "empty.template";
  await ensureNamed(empty);
  return {
    root,
    env,
    platformEnv: {
      ...env,
      GIT_AUTHOR_NAME: "OpenFaaS Cloud",
      GIT_AUTHOR_EMAIL: "platform@openfaas-cloud.invalid",
      GIT_COMMITTER_NAME: "OpenFaaS Cloud",
      GIT_COMMITTER_EMAIL: "platform@openfaas-cloud.invalid",
    },
    empty,
    nameOf,
    gitDirOf: (repositoryId) => join(root, nameOf(repositoryId)),
    ensure: (repositoryId) => ensureNamed(nameOf(repositoryId)),
    exists: (repositoryId) => isThere(join(root, nameOf(repositoryId))),
  };
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Kept outside the repositories, so that all of them, old ones too, obey what this version of the platform says. */
function configuration(maxPackBytes: number): string {
  return `[core]
	hooksPath = ${JSON.stringify(HOOKS)}
	logAllRefUpdates = true
	# Larger blobs are streamed and never held in memory.
	bigFileThreshold = 8m
	packedGitWindowSize = 32m
	packedGitLimit = 256m
[safe]
	directory = *
[http]
	receivepack = true
[receive]
	maxInputSize = ${maxPackBytes}
	fsckObjects = true
	autogc = false
	# The update hook decides about deletions. A run that ended well cannot be undone because another ref was refused.
	denyDeleteCurrent = ignore
	advertiseAtomic = false
	advertisePushOptions = false
[transfer]
	hideRefs = refs/openfaas
[gc]
	auto = 0
[pack]
	threads = 2
	windowMemory = 64m
	deltaCacheSize = 64m
[protocol]
	allow = never
`;
}
