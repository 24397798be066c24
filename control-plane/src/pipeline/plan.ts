import { FunctionName } from "@openfaas-cloud/shared/names.ts";
import type { FunctionSpec } from "../function-spec.ts";
import { derivedId } from "../ids.ts";
import type { Builder } from "../ports/builder/builder.ts";
import type { Run } from "../ports/queue/queue.ts";
import type { SecretStore } from "../ports/secret-store/secret-store.ts";
import { type Deployed, findFunction, listDeployed } from "../ports/store/functions.ts";
import type { Store } from "../ports/store/store.ts";
import { Rejected } from "../rejected.ts";
import type { Source } from "./checkout.ts";
import { requireHandler } from "./handler-folder.ts";
import type { IgnoredKey } from "./stack-file/ignored-keys.ts";
import { readStackFile, type StackFileLimits } from "./stack-file/stack-file.ts";

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
  const stack = await readStackFile(source, ports.maxima);
  const live = new Map(
    (await listDeployed(ports.store, { repositoryId: run.repository_id })).map((deployed) => [
      deployed.name,
      deployed,
    ]),
  );
  const functions: PlannedFunction[] = [];
  const problems: Rejected[] = [];
  for (const spec of stack.functions) {
    try {
      functions.push(await planFunction(run, source, spec, live.get(spec.name), ports));
    } catch (error) {
      if (!(error instanceof Rejected)) throw error;
      problems.push(error);
    }
  }
  const [first] = problems;
  if (first) throw new Rejected(first.kind, problems.map((problem) => problem.message).join("\n"));
  return { functions, ignored: stack.ignored };
}

async function planFunction(
  run: Run,
  source: Source,
  spec: FunctionSpec,
  live: Deployed | undefined,
  ports: { readonly store: Store; readonly builder: Builder; readonly secrets: SecretStore },
): Promise<PlannedFunction> {
  const support = ports.builder.supports(spec.lang);
  if (support.kind === "unsupported") {
    throw new Rejected("language-unsupported", `function ${spec.name}: ${support.reason}`);
  }
  await requireHandler(source, spec);
  await requireName(run, spec.name, ports.store);
  const secrets = await ports.secrets.reveal(run.owner_id, spec.secrets);
  const missing = spec.secrets.filter((name) => !Object.hasOwn(secrets, name));
  if (missing.length > 0) {
    throw new Rejected(
      "secret-missing",
      `function ${spec.name}: there is no secret ${missing.join(", ")}. Set it in the dashboard, under Secrets, then push again.`,
    );
  }
  return { spec, functionId: derivedId(run.owner_id, run.repository_id, spec.name), secrets, live };
}

/** A function belongs to the repository that first deployed it, until that one gives it up. */
async function requireName(run: Run, name: string, store: Store): Promise<void> {
  const holder = await findFunction(store, run.owner_id, FunctionName.parse(name));
  if (!holder || holder.repository_id === run.repository_id) return;
  throw new Rejected(
    "name-taken",
    `function ${name}: this owner's repository ${holder.repository} has a function of that name already. Rename one, or remove it there first.`,
  );
}
