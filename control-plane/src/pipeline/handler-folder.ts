import { lstat } from "node:fs/promises";
import { join } from "node:path";
import type { FunctionSpec } from "../function-spec.ts";
import type { Annotation } from "../ports/source-host/source-host.ts";
import { Rejected } from "../rejected.ts";
import type { Source } from "./checkout.ts";

/**
 * Checks that a function's handler is a folder of the repository that no symbolic link leads to.
 * @param place where the repository asks for it.
 * @throws Rejected `handler-invalid`.
 */
export async function requireHandler(
  source: Pick<Source, "dir" | "symlinks">,
  spec: Pick<FunctionSpec, "name" | "handler">,
  place?: Pick<Annotation, "path" | "line">,
): Promise<void> {
  const problem = (what: string) => {
    const message = `the handler ${JSON.stringify(spec.handler)} ${what}.`;
    const annotations = place === undefined ? [] : [{ ...place, level: "failure", message } as const];
    return new Rejected("handler-invalid", `function ${spec.name}: ${message}`, { annotations });
  };
  let way = "";
  for (const part of spec.handler === "" ? [] : spec.handler.split("/")) {
    way = way === "" ? part : `${way}/${part}`;
    if (source.symlinks.includes(way))
      throw problem(`leads through the symbolic link ${JSON.stringify(way)}`);
    const found = await lstat(join(source.dir, way)).catch(() => undefined);
    if (found === undefined) throw problem("does not exist in the repository");
    if (found.isSymbolicLink()) throw problem(`leads through the symbolic link ${JSON.stringify(way)}`);
    if (!found.isDirectory()) throw problem("must be a folder, not a file");
  }
}
