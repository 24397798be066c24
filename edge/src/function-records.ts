import { DURATION_BUCKETS_S, type Route } from "@openfaas-cloud/shared/route.ts";
import { RateGate } from "./rate-gate.ts";
import type { RouteTable } from "./route-table.ts";

/**
 * Functions choose their status codes, and each code of each function is a series: more different ones than this are counted
 * as what stands for their kind. With the thirteen other series of a function (function-metrics.ts) that makes the twenty of
 * SECURITY.md §3.
 */
const MAX_CODES = 7;
/** Have a place kept for them. 3xx is counted as 200: neither is a failure. */
const STANDING_FOR_OTHERS = [200, 400, 500];

/** At least so many records are looked at in one call of `prune`, and all of them in so many calls. */
const PRUNED_AT_ONCE = 1_000;
const CALLS_TO_PRUNE_ALL = 16;

/** What is counted for one function, in plain numbers; kept by the function's id, so that a new revision counts on. */
export class FunctionRecord {
  readonly functionId: string;
  readonly owner: string;
  readonly function: string;
  /** The label of all its series. Its parts are names of the route table, which need no escaping. */
  readonly label: string;
  /** Requests under way on this edge, tunnels included; admit.ts reads and writes it. */
  underWay = 0;
  readonly gate = new RateGate();
  /** Admitted, and not counted in `counts` yet. */
  #begun = 0;
  /** Codes in the order in which they first came, then zeros, and beside each how often it did. */
  readonly codes = zeros(MAX_CODES);
  readonly counts = zeros(MAX_CODES);
  durationSumS = 0;
  /** Not cumulative; one for each of DURATION_BUCKETS_S, then one for the rest. */
  readonly durationCounts = zeros(DURATION_BUCKETS_S.length + 1);
  /** Of bodies, and of what tunnels carry. */
  bytesReceived = 0;
  bytesSent = 0;
  /** What of it was taken for reports; made with the first one. */
  #reported: Reported | undefined;
  #unreported = false;
  readonly #onUnreported: (record: FunctionRecord) => void;

  /** `onUnreported` is told when there is something to report where there was nothing. */
  constructor(route: Route, onUnreported: (record: FunctionRecord) => void) {
    this.functionId = route.functionId;
    this.owner = route.owner;
    this.function = route.function;
    this.label = `function_name="${route.function}.${route.owner}"`;
    this.#onUnreported = onUnreported;
  }

  /** Whether anything was counted that no report has taken. */
  get unreported(): boolean {
    return this.#unreported;
  }

  get count(): number {
    let count = 0;
    for (const n of this.counts) count += n;
    return count;
  }

  /** Never less than it was: a request goes from begun to counted in one step. */
  get started(): number {
    return this.count + this.#begun;
  }

  /** A request was admitted; `end` is to be called when it is counted. */
  begin(): void {
    this.#begun += 1;
  }

  end(): void {
    this.#begun -= 1;
  }

  add(status: number, durationS: number): void {
    let at = this.codes.indexOf(status);
    if (at === -1) at = this.#placeFor(status);
    this.counts[at] = (this.counts[at] ?? 0) + 1;
    const bucket = bucketOf(durationS);
    this.durationCounts[bucket] = (this.durationCounts[bucket] ?? 0) + 1;
    this.durationSumS += durationS;
    if (this.#unreported) return;
    this.#unreported = true;
    this.#onUnreported(this);
  }

  addBytes(received: number, sent: number): void {
    this.bytesReceived += received;
    this.bytesSent += sent;
  }

  /** A place of its own while one stays free for each of those that stand for others. */
  #placeFor(status: number): number {
    const used = this.codes.indexOf(0);
    if (used === -1) return this.codes.indexOf(standingFor(status));
    const kept = STANDING_FOR_OTHERS.filter((code) => code !== status && !this.codes.includes(code));
    const code = used + kept.length < MAX_CODES ? status : standingFor(status);
    const known = this.codes.indexOf(code);
    if (known !== -1) return known;
    this.codes[used] = code;
    return used;
  }

  /**
   * What was counted since it was taken last: one of a UsageReport's functions, as JSON. As an object it would hold its codes
   * at 200, 404 and so on, and V8 keeps room for all the numbers below: 2.5 KB for each function.
   */
  takeUnreported(): string {
    this.#reported ??= {
      counts: zeros(this.counts.length),
      durationSumS: 0,
      durationCounts: zeros(this.durationCounts.length),
    };
    const reported = this.#reported;
    let codes = "";
    takeDifferences(this.counts, reported.counts).forEach((count, i) => {
      if (count > 0) codes += `${codes === "" ? "" : ","}"${this.codes[i]}":${count}`;
    });
    const durationSumS = this.durationSumS - reported.durationSumS;
    reported.durationSumS = this.durationSumS;
    const durationCounts = takeDifferences(this.durationCounts, reported.durationCounts);
    this.#unreported = false;
    return (
      `{"functionId":${JSON.stringify(this.functionId)},"codes":{${codes}},` +
      `"durationSumS":${durationSumS},"durationCounts":[${durationCounts.join(",")}]}`
    );
  }
}

type Reported = Pick<FunctionRecord, "counts" | "durationSumS" | "durationCounts">;

/** Brings `taken` to what is counted, and tells by how much. */
function takeDifferences(counted: readonly number[], taken: number[]): number[] {
  return counted.map((count, i) => {
    const difference = count - (taken[i] ?? 0);
    taken[i] = count;
    return difference;
  });
}

function standingFor(status: number): number {
  if (status < 400) return 200;
  return status < 500 ? 400 : 500;
}

function zeros(length: number): number[] {
  return new Array<number>(length).fill(0);
}

function bucketOf(durationS: number): number {
  let at = 0;
  for (const bound of DURATION_BUCKETS_S) {
    if (durationS <= bound) return at;
    at += 1;
  }
  return at;
}

/** The records of all functions that were called. */
export class Records {
  readonly #byId = new Map<string, FunctionRecord>();
  /** One for each name: a function made anew takes over the series of the one before. */
  readonly #byLabel = new Map<string, FunctionRecord>();
  /** What there is to report, in the order in which it began. */
  readonly #unreported: FunctionRecord[] = [];
  readonly #queue = (record: FunctionRecord): void => {
    this.#unreported.push(record);
  };
  #pruning = this.#byId.values();

  of(route: Route): FunctionRecord {
    const known = this.#byId.get(route.functionId);
    if (known !== undefined) return known;
    const record = new FunctionRecord(route, this.#queue);
    this.#byId.set(route.functionId, record);
    this.#byLabel.set(record.label, record);
    return record;
  }

  /** One for each name, as they are at this moment. */
  all(): FunctionRecord[] {
    return [...this.#byLabel.values()];
  }

  /** Functions that were called since they were taken last. */
  get unreported(): number {
    return this.#unreported.length;
  }

  /** Takes what was counted since it was taken last, of at most so many functions, each as JSON. */
  takeUnreported(max: number): string[] {
    return this.#unreported.splice(0, max).map((record) => record.takeUnreported());
  }

  /**
   * Forgets functions that have no route any more and nothing left to report. Looks at some of them at each call, since a look
   * at 100,000 would keep requests waiting.
   */
  prune(table: RouteTable): void {
    const looks = Math.max(PRUNED_AT_ONCE, Math.ceil(this.#byId.size / CALLS_TO_PRUNE_ALL));
    for (let i = 0; i < looks; i++) {
      const { value: record, done } = this.#pruning.next();
      if (done === true) {
        this.#pruning = this.#byId.values();
        return;
      }
      if (record.unreported || record.underWay > 0) continue;
      if (table.find(record.owner, record.function)?.functionId === record.functionId) continue;
      this.#byId.delete(record.functionId);
      if (this.#byLabel.get(record.label) === record) this.#byLabel.delete(record.label);
    }
  }
}
