import { must } from "@openfaas-cloud/shared/must.ts";
import type { FunctionSpec } from "../function-spec.ts";
import { derivedId } from "../ids.ts";
import type { Builder } from "../ports/builder/builder.ts";
import type { Run } from "../ports/queue/queue.ts";
import type { SecretStore } from "../ports/secret-store/secret-store.ts";
import type { Annotation } from "../ports/source-host/source-host.ts";
import { type Deployed, findFunction, listDeployed } from "../ports/store/functions.ts";
import type { Store } from "../ports/store/store.ts";
import { Rejected, type RejectedKind } from "../rejected.ts";
import type { Source } from "./checkout.ts";
import { requireHandler } from "./handler-folder.ts";
import type { IgnoredKey } from "./stack-file/ignored-keys.ts";
import type { StackFileLimits } from "./stack-file/limits.ts";
import { readStackFile, type StackFile } from "./stack-file/stack-file.ts";

export interface PlannedFunction {
  readonly spec: FunctionSpec;
  readonly functionId: string;
  readonly secrets: Readonly<Record<string, string>>;
  /** What is live under this name now. */
  readonly live: Deployed | undefined;
}

export interface Plan {
  readonly functions: readonly PlannedFunction[];
  readonly ignored: readonly IgnoredKey[];
  /** What is ignored, at its lines. */
  readonly notices: readonly Annotation[];
}

/**
 * What the stack file at this commit asks for, checked as far as it can be without building anything.
 * @throws Rejected with every problem that was found, not only the first.
 */
export async function makePlan(
  run: Run,
  source: Source,
  ports: {
    readonly store: Store;
    readonly builder: Builder;
    readonly secrets: SecretStore;
    readonly maxima: Partial<StackFileLimits>;
  },
): Promise<Plan> {
  const deployed = await listDeployed(ports.store, { repositoryId: run.repository_id });
  const live = new Map(deployed.map((one) => [one.name, one]));
  const stack = await readStackFile(source, ports.maxima).catch((error: unknown) => {
    throw live.size === 0 ? noMistake(error) : error;
  });
  const functions: PlannedFunction[] = [];
  const problems: Rejected[] = [];
  for (const spec of stack.functions) {
    try {
      functions.push(await planFunction({ run, source, stack, spec, live: live.get(spec.name) }, ports));
    } catch (error) {
      if (!(error instanceof Rejected)) throw error;
      problems.push(error);
    }
  }
  const [first] = problems;
  if (first) {
    throw new Rejected(first.kind, problems.map((problem) => problem.message).join("\n"), {
      annotations: [...problems.flatMap((problem) => problem.annotations), ...stack.notices],
    });
  }
  return { functions, ignored: stack.ignored, notices: stack.notices };
}

/** A GitHub App is installed on every repository of an organisation; most of them were never meant for the platform. */
function noMistake(error: unknown): unknown {
  if (!(error instanceof Rejected) || error.kind !== "stack-file-missing") return error;
  return new Rejected("nothing-to-deploy", error.message);
}

interface Planning {
  readonly run: Run;
  readonly source: Source;
  readonly stack: StackFile;
  readonly spec: FunctionSpec;
  readonly live: Deployed | undefined;
}

async function planFunction(
  planning: Planning,
  ports: { readonly store: Store; readonly builder: Builder; readonly secrets: SecretStore },
): Promise<PlannedFunction> {
  const { run, source, stack, spec, live } = planning;
  const lines = must(stack.lines.get(spec.name), `the lines of function ${spec.name}`);
  const support = ports.builder.supports(spec.lang);
  if (support.kind === "unsupported") {
    throw refusal("language-unsupported", planning, [{ line: lines.lang, message: support.reason }]);
  }
  await requireHandler(source, spec, { path: stack.name, line: lines.handler });
  const holder = await findFunction(ports.store, run.owner_id, spec.name);
  // A function belongs to the repository that first deployed it, until that one gives it up.
  if (holder && holder.repository_id !== run.repository_id) {
    const message = `this owner's repository ${holder.repository} has a function of that name already. Rename one, or remove it there first.`;
    throw refusal("name-taken", planning, [{ line: lines.name, message }]);
  }
  const secrets = await ports.secrets.reveal(run.owner_id, spec.secrets);
  const missing = spec.secrets.filter((name) => !Object.hasOwn(secrets, name));
  if (missing.length > 0) {
    const places = missing.map((name) => ({
      line: lines.secrets.get(name) ?? lines.name,
      message: `there is no secret ${name}.`,
    }));
    throw refusal(
      "secret-missing",
      planning,
      places,
      `there is no secret ${missing.join(", ")}. Set it in the dashboard, under Secrets, then push again.`,
    );
  }
  return { spec, functionId: derivedId(run.owner_id, run.repository_id, spec.name), secrets, live };
}

/** `message` is for all the places at once, where there may be several. */
function refusal(
  kind: RejectedKind,
  { stack, spec }: Planning,
  places: readonly { readonly line: number; readonly message: string }[],
  message = places[0]?.message,
): Rejected {
  return new Rejected(kind, `function ${spec.name}: ${message}`, {
    annotations: places.map((place) => ({ path: stack.name, level: "failure", ...place })),
  });
}
