import { golangMiddleware } from "./golang-middleware/template.ts";
import { node22 } from "./node22/template.ts";
import { python3Http } from "./python3-http/template.ts";
import type { Template } from "./template.ts";
import type { ToolchainName, Toolchains } from "./toolchains.ts";

/** Whether functions of a `lang` can be built here, and what is needed where they cannot. */
export type LanguageSupport =
  | { readonly kind: "supported"; readonly template: string }
  | { readonly kind: "unsupported"; readonly reason: string };

/** Every template of the platform: a new one is its folder and a line here. */
const TEMPLATES: readonly Template[] = [node22, python3Http, golangMiddleware];

export const TEMPLATE_NAMES: readonly string[] = TEMPLATES.map(({ name }) => name);

const NEEDS: Readonly<Record<ToolchainName, string>> = {
  node: "Node.js",
  python: "Python 3.8 or newer with pip",
  go: "Go 1.18 or newer",
};

const PROGRAM: Readonly<Record<ToolchainName, string>> = { node: "node", python: "python3", go: "go" };

export function findTemplate(lang: string): Template | undefined {
  return TEMPLATES.find((template) => template.name === lang || template.aliases.includes(lang));
}

export function supportOf(lang: string, toolchains: Toolchains): LanguageSupport {
  const template = findTemplate(lang);
  if (template === undefined) return { kind: "unsupported", reason: unknownLanguage(lang, toolchains) };
  if (toolchains.find(template.toolchain) !== undefined)
    return { kind: "supported", template: template.name };
  const needed = `${NEEDS[template.toolchain]} on the machine: \`${PROGRAM[template.toolchain]}\` was not found on PATH`;
  return { kind: "unsupported", reason: `lang: ${lang} needs ${needed}.` };
}

function unknownLanguage(lang: string, toolchains: Toolchains): string {
  const here = TEMPLATES.filter((template) => toolchains.find(template.toolchain) !== undefined)
    .flatMap((template) => [template.name, ...template.aliases])
    .join(", ");
  const problem =
    lang === "dockerfile"
      ? "lang: dockerfile needs a container builder (docker or buildkit); this platform builds with processes."
      : `lang: ${lang} has no template here; this platform builds with processes, without containers.`;
  return `${problem} Supported here: ${here}.`;
}
