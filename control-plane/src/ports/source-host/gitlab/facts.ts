import { BranchName, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import { z } from "zod";
import { HostUnavailable } from "../host-errors.ts";
import type { OwnerFacts, RepositoryFacts, RepositoryState } from "../remote-host.ts";
import type { SourceKey } from "../source-host.ts";
import type { GitLabApi, Query } from "./api.ts";

/** Groups lie in each other at most this deep (GitLab allows 20 levels). */
const MOST_LEVELS = 25;

const Id = z.number().int().positive();
/** https://docs.gitlab.com/api/projects/ */
const Project = z
  .object({
    id: Id,
    path_with_namespace: z.string().regex(/^[\w.-]+(?:\/[\w.-]+)+$/),
    visibility: z.string(),
    default_branch: z.string().nullish(),
    topics: z.array(z.string()).optional(),
    /** What `topics` was called before version 14. */
    tag_list: z.array(z.string()).optional(),
    namespace: z.object({
      id: Id,
      kind: z.enum(["user", "group"]),
      path: z.string(),
      parent_id: Id.nullish(),
    }),
    owner: z.object({ id: Id, username: z.string() }).nullish(),
    marked_for_deletion_on: z.string().nullish(),
    marked_for_deletion_at: z.string().nullish(),
  })
  // A version that tells neither is one whose projects are not known to be unlinked.
  .refine(({ topics, tag_list }) => topics !== undefined || tag_list !== undefined, "says nothing of topics");
export type Project = z.infer<typeof Project>;

/** https://docs.gitlab.com/api/groups/ */
export const Group = z.object({ id: Id, path: z.string(), parent_id: Id.nullish() });
export type Group = z.infer<typeof Group>;

const Topic = z.object({ name: z.string() });
const Credential = z.object({ id: Id });

/** What GitLab says of projects, by one credential. */
export class GitLabFacts {
  readonly #api: GitLabApi;
  readonly #url: string;
  readonly #topic: string;
  readonly #title: string;

  constructor(
    api: GitLabApi,
    config: { readonly url: string; readonly topic: string; readonly title: string },
  ) {
    this.#api = api;
    this.#url = config.url;
    this.#topic = config.topic;
    this.#title = config.title;
  }

  async fetchState(key: SourceKey, signal: AbortSignal): Promise<RepositoryState> {
    const project = await this.findProject(key, signal);
    if (project === undefined) {
      return { kind: "unlinked", reason: "The project is gone, or the platform may not see it any more." };
    }
    return this.#stateOf(project, new Groups(this.#api, this.#title), signal);
  }

  /**
   * `undefined` where GitLab says that there is none to a credential that works: it says the same of a project that the
   * credential may not see, and a credential that sees nothing any more must not read as projects that are gone.
   */
  async findProject(key: SourceKey, signal: AbortSignal): Promise<Project | undefined> {
    const found = await this.#api.find(`/projects/${idOf(key)}`, "404 Project Not Found", Project, signal);
    if (found.kind === "found") return found.value;
    await this.#api.get("/user", Credential, signal);
    return undefined;
  }

  /** All that is linked, of what the credential may see and the query asks for. */
  async listLinked(query: Query, signal: AbortSignal): Promise<readonly RepositoryFacts[]> {
    const groups = new Groups(this.#api, this.#title);
    const linked = new Map<number, RepositoryFacts>();
    for (const topic of await this.#spellings(signal)) {
      for (const project of await this.#listByTopic(topic, query, signal)) {
        if (linked.has(project.id)) continue;
        const state = await this.#stateOf(project, groups, signal);
        if (state.kind === "linked") linked.set(project.id, state.facts);
      }
    }
    return [...linked.values()];
  }

  /** From id to id, so that nothing is left out although projects come and go meanwhile. */
  #listByTopic(topic: string, query: Query, signal: AbortSignal): Promise<readonly Project[]> {
    let reached = 0;
    return this.#api.list("/projects", Project, {
      query: { ...query, topic, order_by: "id", sort: "asc" },
      next: ({ id }) => {
        if (id <= reached)
          throw new HostUnavailable(`${this.#title} lists the same projects again and again.`);
        reached = id;
        return { id_after: id };
      },
      signal,
    });
  }

  /** Topics are the same whatever their case, but projects are listed by exactly the one that is asked for. */
  async #spellings(signal: AbortSignal): Promise<ReadonlySet<string>> {
    const topics = await this.#api.list("/topics", Topic, {
      query: { search: this.#topic },
      // Versions before 14.5 know topics (tags) only as they stand in projects.
      absence: "404 Not Found",
      signal,
    });
    const spelled = topics.map(({ name }) => name).filter((name) => isSameTopic(name, this.#topic));
    return new Set([this.#topic, ...spelled]);
  }

  async #stateOf(project: Project, groups: Groups, signal: AbortSignal): Promise<RepositoryState> {
    if ((project.marked_for_deletion_on ?? project.marked_for_deletion_at ?? null) !== null) {
      return { kind: "unlinked", reason: "The project is marked for deletion." };
    }
    const topics = [...(project.topics ?? []), ...(project.tag_list ?? [])];
    if (!topics.some((topic) => isSameTopic(topic, this.#topic))) {
      return { kind: "unlinked", reason: `The project has no topic "${this.#topic}".` };
    }
    const fullName = project.path_with_namespace;
    const slash = fullName.indexOf("/");
    const name = RepositoryName.safeParse(fullName.slice(slash + 1));
    if (!name.success) {
      return { kind: "unlinked", reason: `The project's path ${fullName} cannot be used here: rename it.` };
    }
    const owner = await this.#ownerOf(project, groups, signal);
    if (owner.login !== fullName.slice(0, slash)) {
      throw new HostUnavailable(`${this.#title} moved ${fullName} while it was looked at.`);
    }
    return {
      kind: "linked",
      facts: {
        key: { id: project.id.toString(), installation: undefined },
        owner,
        name: name.data,
        fullName,
        defaultBranch: BranchName.safeParse(project.default_branch).data,
        isPrivate: project.visibility !== "public",
        webUrl: `${this.#url}/${fullName}`,
      },
    };
  }

  async #ownerOf(
    { namespace, owner, path_with_namespace }: Project,
    groups: Groups,
    signal: AbortSignal,
  ): Promise<OwnerFacts> {
    if (namespace.kind === "group") {
      const isRoot = namespace.parent_id === null;
      return ownerOfGroup(isRoot ? namespace : await groups.getRoot(namespace.id, signal));
    }
    if (owner === undefined || owner === null) {
      throw new HostUnavailable(`${this.#title} does not say whose ${path_with_namespace} is.`);
    }
    return ownerOfPerson(owner);
  }
}

/** Groups by id, each asked for once. */
export class Groups {
  readonly #api: GitLabApi;
  readonly #title: string;
  readonly #known = new Map<number, Group>();

  constructor(api: GitLabApi, title: string) {
    this.#api = api;
    this.#title = title;
  }

  /** From parent to parent, by id: a path may be another group's by the time it is asked for. */
  async getRoot(id: number, signal: AbortSignal): Promise<Group> {
    let group = await this.#get(id, signal);
    for (let level = 0; level < MOST_LEVELS; level++) {
      if (group.parent_id === undefined || group.parent_id === null) return group;
      group = await this.#get(group.parent_id, signal);
    }
    throw new HostUnavailable(`${this.#title} has groups in each other without an end.`);
  }

  async #get(id: number, signal: AbortSignal): Promise<Group> {
    const known = this.#known.get(id);
    if (known !== undefined) return known;
    const group = await this.#api.get(`/groups/${id}?with_projects=false`, Group, signal);
    this.#known.set(id, group);
    return group;
  }
}

/** Ids of groups and of people are counted apart: 7 is a group and a person. */
export function ownerOfGroup({ id, path }: Group): OwnerFacts {
  return { sourceId: `group:${id}`, login: path, kind: "organization" };
}

export function ownerOfPerson({ id, username }: { id: number; username: string }): OwnerFacts {
  return { sourceId: `user:${id}`, login: username, kind: "person" };
}

export function idOf({ id }: SourceKey): string {
  if (!/^\d{1,18}$/.test(id)) throw new Error(`not a project's id: ${id}`);
  return id;
}

function isSameTopic(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}
