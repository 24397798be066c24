import { must } from "@openfaas-cloud/shared/must.ts";
import type { Random } from "../../../edge/test/goals/support/random.ts";
import type { FunctionRow, RepositoryRow } from "../../src/ports/store/schema.ts";
import type { LinkedPlatform } from "./linked-platform.ts";
import { type HostedRepository, installationOf, ScriptedHost } from "./linked-world.ts";

export const HOUR = 60 * 60_000;
export const DAY = 24 * HOUR;
const FUNCTIONS = ["hello", "b-c", "c", "api"];
const NEVER = new AbortController().signal;

export interface Snapshot {
  readonly functions: ReadonlyMap<string, FunctionRow>;
  readonly repositories: ReadonlyMap<string, RepositoryRow>;
  /** Ids of repositories that an operator was told of, confirmed or not. */
  readonly told: ReadonlySet<string>;
  /** Those that stay whatever the host says. */
  readonly held: ReadonlySet<string>;
}

/** What a reading finds gone, and whether that is too much at once. */
export interface Due {
  readonly gone: readonly RepositoryRow[];
  readonly tooMuch: boolean;
}

/** What came of a step, as far as it matters for what may be gone after it. */
export interface Outcome {
  readonly due?: Due | undefined;
  /** A host or whoever is asked gave no answer. */
  readonly failed?: boolean;
  /** A run was published whose stack file names these functions and no others. */
  readonly published?: RunUnderWay;
  readonly refused?: boolean;
  readonly swept?: boolean;
}

interface RunUnderWay {
  readonly repositoryId: string;
  readonly names: readonly string[];
  readonly finish: () => Promise<string | undefined>;
}

type Act = readonly [what: string, act: (before: Snapshot) => Promise<Outcome> | Outcome];

/** A host with owners whose names collide, what happens there and on the platform, and what is true of it. */
export class RemovalWorld {
  readonly world: ScriptedHost;
  readonly #it: LinkedPlatform;
  readonly #random: Random;
  readonly #owners: readonly string[];
  #isAllowed = true;
  #pending: RunUnderWay | undefined;

  constructor(it: LinkedPlatform, random: Random) {
    this.#it = it;
    this.#random = random;
    this.world = new ScriptedHost("github.com", () => it.time.now);
    it.policy.isAllowed = async () => this.#isAllowed;
    const accounts = ["a", "a-b", "alice"].map((login) => this.world.addAccount(login));
    this.#owners = accounts.map(({ id }) => id);
    for (let i = random.between(4, 16); i > 0; i--) {
      const name = random.pick(["site", "Site", "api"]) + i;
      this.world.addRepository(random.pick(accounts), name, this.#someFunctions());
    }
  }

  /** Not deleted while it is under way. */
  get runningFor(): string | undefined {
    return this.#pending?.repositoryId;
  }

  async step(before: Snapshot): Promise<Outcome & { readonly what: string }> {
    const [what, act] = this.#random.pick(this.#acts);
    return { what, ...(await act(before)) };
  }

  /** Everybody answers, nobody tells lies, and no run is under way. */
  async settle(): Promise<void> {
    this.world.fails = () => false;
    await this.#endRun();
    await this.#it.lookAtHost(this.world);
  }

  async snapshot(): Promise<Snapshot> {
    const { store, brake } = this.#it;
    const functions = await store.selectFrom("functions").selectAll().execute();
    const repositories = await store.selectFrom("repositories").selectAll().execute();
    const told = (await brake.list()).flatMap((held) => held.repositories);
    return {
      functions: new Map(functions.map((row) => [row.id, row])),
      repositories: new Map(repositories.map((row) => [row.id, row])),
      told: new Set(told.map(({ repositoryId }) => repositoryId)),
      held: await brake.heldAt(this.world.instance),
    };
  }

  /** Whether the host, and the operator's list, would say that it is linked. */
  isThere(row: RepositoryRow): boolean {
    return this.#isThere(this.#hostedOf(row));
  }

  readonly #acts: readonly Act[] = [
    ["a repository is linked or unlinked", () => this.#toggle(this.#anyHosted())],
    ["many are linked or unlinked", () => this.#each(0.7, (one) => this.#toggle(one))],
    [
      "the host denies some, or remembers",
      () => {
        this.world.denied.clear();
        if (this.#random.chance(0.5)) this.#each(0.6, ({ id }) => this.world.denied.add(id));
        return {};
      },
    ],
    [
      "the list lacks some",
      () => {
        this.world.unlisted.clear();
        return this.#each(0.3, ({ id }) => this.world.unlisted.add(id));
      },
    ],
    [
      "the host fails, or is well",
      () => {
        const calls = ["list", "repository", "installation"].filter(() => this.#random.chance(0.4));
        const part = this.#random.fraction();
        this.world.fails = (call) => calls.includes(call) && this.#random.chance(part);
        return {};
      },
    ],
    [
      "the operator's list changes",
      () => {
        this.#isAllowed = this.#random.chance(0.8);
        return {};
      },
    ],
    [
      "all is well and read",
      async () => {
        this.world.fails = () => false;
        this.world.denied.clear();
        this.world.unlisted.clear();
        this.#isAllowed = true;
        for (const one of this.world.repositories.values()) one.isLinked = true;
        await this.#it.lookAtHost(this.world);
        return {};
      },
    ],
    [
      "time goes on",
      () => {
        this.#it.time.now += this.#random.pick([HOUR / 60, HOUR / 2, 5 * HOUR, DAY - HOUR, DAY]);
        return {};
      },
    ],
    [
      "an operator confirms",
      async () => {
        for (const { id } of await this.#it.brake.list())
          if (this.#random.chance(0.5))
            await this.#it.brake.confirm(id, { subject: "local", address: undefined });
        return {};
      },
    ],
    [
      "a day goes by",
      async () => {
        this.#it.time.now += DAY;
        await this.#it.removal.sweep();
        return { swept: true };
      },
    ],
    [
      "sweep",
      async () => {
        await this.#it.removal.sweep();
        return { swept: true };
      },
    ],
    ["look at one", () => this.#attempt(() => this.#it.look(this.world, this.#anyHosted()))],
    ["look at another", () => this.#attempt(() => this.#it.look(this.world, this.#anyHosted()))],
    [
      "look at the host",
      async (before) => ({
        due: this.#due(before, undefined),
        ...(await this.#attempt(() => this.#it.lookAtHost(this.world))),
      }),
    ],
    ["look at an installation", (before) => this.#lookAtInstallation(before)],
    ["a run begins", (before) => this.#startRun(before)],
    ["the run ends", () => this.#endRun()],
    [
      "a whole run",
      async (before) => {
        if (this.#pending) return {};
        await this.#startRun(before);
        return this.#endRun();
      },
    ],
  ];

  async #attempt(work: () => Promise<unknown>): Promise<Outcome> {
    return work().then(
      () => ({}),
      () => ({ failed: true }),
    );
  }

  async #lookAtInstallation(before: Snapshot): Promise<Outcome> {
    const owner = this.#random.pick(this.#owners);
    const due = this.#due(before, installationOf(owner));
    const owners = new Set(due.gone.map(({ owner_id }) => owner_id));
    const routed = [...before.functions.values()].filter(
      (one) => owners.has(one.owner_id) && one.unrouted_at === null,
    );
    const left = [...this.world.repositories.values()].filter(
      (one) => one.ownerId === owner && one.isLinked && !this.world.denied.has(one.id),
    );
    // The host says that the installation was removed; then a few functions may go at once.
    const mayGo = left.length === 0 && routed.length <= 5;
    const outcome = await this.#attempt(() =>
      this.#it.links.lookAtInstallation(this.world.host, installationOf(owner), NEVER),
    );
    return mayGo ? outcome : { due, ...outcome };
  }

  async #startRun(before: Snapshot): Promise<Outcome> {
    const rows = [...before.repositories.values()].filter((row) => row.source_id !== null);
    const row = rows.length > 0 ? this.#random.pick(rows) : undefined;
    if (this.#pending || row === undefined || row.unlinked_at !== null) return {};
    const { slug } = must(
      await this.#it.store
        .selectFrom("owners")
        .select("slug")
        .where("id", "=", row.owner_id)
        .executeTakeFirst(),
      "the owner",
    );
    const names = this.#someFunctions();
    const commit = this.#random.word(40).replaceAll(/[^0-9a-f]/g, "0");
    const { finish } = await this.#it.startRun({ ...row, slug }, commit, names);
    this.#pending = { repositoryId: row.id, names, finish };
    return {};
  }

  async #endRun(): Promise<Outcome> {
    const run = this.#pending;
    this.#pending = undefined;
    if (run === undefined) return {};
    return (await run.finish()) === undefined ? { published: run } : { refused: true };
  }

  /** By SECURITY.md: more than five and more than half within an hour, of repositories or of functions. */
  #due(state: Snapshot, installation: string | undefined): Due {
    const isListed = ({ id }: HostedRepository) => installation !== undefined || !this.world.unlisted.has(id);
    const isWithin = (of: string | null) => installation === undefined || of === installation;
    const rows = [...state.repositories.values()].filter((row) => isWithin(row.installation));
    const staying = rows.filter((row) => {
      const hosted = this.#hostedOf(row);
      // Nobody asks again for what is held back: it is back when it is listed.
      const isAskedFor = row.unlinked_at === null && !state.held.has(row.id);
      return this.#isThere(hosted) && (isAskedFor || isListed(hosted));
    });
    const isRecent = ({ unlinked_at }: RepositoryRow) =>
      unlinked_at === null || unlinked_at > this.#it.time.now - HOUR;
    const going = rows.filter((row) => !staying.includes(row) && row.source_id !== null && isRecent(row));
    const known = new Set(rows.map(({ source_id }) => source_id));
    const newcomers = [...this.world.repositories.values()].filter(
      (one) =>
        !known.has(one.id) && this.#isThere(one) && isListed(one) && isWithin(installationOf(one.ownerId)),
    );
    const functionsOf = (some: readonly RepositoryRow[]) =>
      [...state.functions.values()].filter((one) => some.some(({ id }) => id === one.repository_id)).length;
    const isTooMuch = (gone: number, kept: number) => gone > 5 && gone > kept;
    return {
      gone: going.filter((row) => row.unlinked_at === null),
      tooMuch:
        isTooMuch(going.length, staying.length + newcomers.length) ||
        isTooMuch(functionsOf(going), functionsOf(staying)),
    };
  }

  #isThere(hosted: HostedRepository | undefined): hosted is HostedRepository {
    return hosted?.isLinked === true && !this.world.denied.has(hosted.id) && this.#isAllowed;
  }

  #hostedOf({ source_id }: RepositoryRow): HostedRepository | undefined {
    return this.world.repositories.get(source_id ?? "");
  }

  #anyHosted(): HostedRepository {
    return this.#random.pick([...this.world.repositories.values()]);
  }

  #toggle(hosted: HostedRepository): Outcome {
    hosted.isLinked = !hosted.isLinked;
    return {};
  }

  #each(probability: number, change: (one: HostedRepository) => unknown): Outcome {
    for (const one of this.world.repositories.values()) if (this.#random.chance(probability)) change(one);
    return {};
  }

  #someFunctions(): readonly string[] {
    return this.#random.shuffled(FUNCTIONS).slice(0, this.#random.between(1, 4));
  }
}
