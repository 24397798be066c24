import { must } from "@openfaas-cloud/shared/must.ts";

export type Visibility = "private" | "internal" | "public";

export interface FakeUser {
  readonly id: number;
  readonly namespaceId: number;
  username: string;
  /** For people; may hold anything. */
  name: string;
  isBlocked: boolean;
}

export interface FakeGroup {
  readonly id: number;
  path: string;
  name: string;
  parentId: number | undefined;
  /** Access levels by user id: 10 guest, 20 reporter, 30 developer, 40 maintainer, 50 owner. */
  readonly members: Map<number, number>;
}

export interface FakeProject {
  readonly id: number;
  path: string;
  name: string;
  namespaceId: number;
  visibility: Visibility;
  topics: readonly string[];
  readonly members: Map<number, number>;
  /** Without a commit. */
  isEmpty: boolean;
  markedForDeletionOn: string | undefined;
  /** The platform's token has no access, and it is not public. */
  isHidden: boolean;
}

/** Who asks: the platform's bot, which sees all that is not hidden from it, or a person. */
export type Asker = { readonly kind: "bot" } | { readonly kind: "person"; readonly user: FakeUser };

/**
 * People, groups and projects. Ids of people are counted apart from those of namespaces, so that the same number is a person
 * and a group, as it is at GitLab.
 */
export class GitLabWorld {
  readonly users = new Map<number, FakeUser>();
  readonly groups = new Map<number, FakeGroup>();
  readonly projects = new Map<number, FakeProject>();
  #lastUser = 0;
  #lastNamespace = 0;
  #lastProject = 100;

  addUser(username: string, name: string): FakeUser {
    const user = {
      id: ++this.#lastUser,
      namespaceId: ++this.#lastNamespace,
      username,
      name,
      isBlocked: false,
    };
    this.users.set(user.id, user);
    return user;
  }

  addGroup(path: string, options: { readonly name?: string; readonly parent?: FakeGroup } = {}): FakeGroup {
    const { name = path, parent } = options;
    const group = { id: ++this.#lastNamespace, path, name, parentId: parent?.id, members: new Map() };
    this.groups.set(group.id, group);
    return group;
  }

  addProject(
    path: string,
    namespaceId: number,
    options: Partial<Omit<FakeProject, "id" | "path" | "namespaceId" | "members">> = {},
  ): FakeProject {
    const project: FakeProject = {
      id: ++this.#lastProject,
      path,
      name: path,
      namespaceId,
      visibility: "public",
      topics: [],
      members: new Map(),
      isEmpty: false,
      markedForDeletionOn: undefined,
      isHidden: false,
      ...options,
    };
    this.projects.set(project.id, project);
    return project;
  }

  getUser(username: string): FakeUser {
    return must(
      [...this.users.values()].find((user) => user.username === username),
      `the user ${username}`,
    );
  }

  ownerOf(namespaceId: number): FakeUser | undefined {
    return [...this.users.values()].find((user) => user.namespaceId === namespaceId);
  }

  /** The group and those it lies in, the outermost last. */
  lineOf(groupId: number | undefined): readonly FakeGroup[] {
    const group = groupId === undefined ? undefined : this.groups.get(groupId);
    return group === undefined ? [] : [group, ...this.lineOf(group.parentId)];
  }

  fullPath(namespaceId: number): string {
    const user = this.ownerOf(namespaceId);
    if (user !== undefined) return user.username;
    return this.lineOf(namespaceId)
      .map(({ path }) => path)
      .reverse()
      .join("/");
  }

  pathOf(project: FakeProject): string {
    return `${this.fullPath(project.namespaceId)}/${project.path}`;
  }

  findByPath(path: string): FakeProject | undefined {
    return [...this.projects.values()].find((project) => this.pathOf(project) === path);
  }

  levelInGroup(user: FakeUser, groupId: number): number {
    return Math.max(0, ...this.lineOf(groupId).map(({ members }) => members.get(user.id) ?? 0));
  }

  levelInProject(user: FakeUser, project: FakeProject): number {
    if (this.ownerOf(project.namespaceId) === user) return 50;
    return Math.max(project.members.get(user.id) ?? 0, this.levelInGroup(user, project.namespaceId));
  }

  sees(asker: Asker | undefined, project: FakeProject): boolean {
    if (project.visibility === "public") return true;
    if (asker === undefined) return false;
    if (asker.kind === "bot") return !project.isHidden;
    return project.visibility === "internal" || this.levelInProject(asker.user, project) >= 10;
  }

  /** All groups are private: a person sees those with a membership in them, above them or in one of their projects. */
  seesGroup(asker: Asker, group: FakeGroup): boolean {
    if (asker.kind === "bot") return true;
    if (this.levelInGroup(asker.user, group.id) > 0) return true;
    return [...this.projects.values()].some(
      (project) =>
        this.lineOf(project.namespaceId).includes(group) && this.levelInProject(asker.user, project) > 0,
    );
  }
}
