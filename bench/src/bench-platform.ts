import { TestPlatform } from "../../test/support/platform.ts";
import { handlerSaying, type PushResult, stackFile, TestRepository } from "../../test/support/repository.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";

/** What every bench measures: an empty platform with one node function without dependencies, deployed from a repository. */
export interface BenchPlatform extends AsyncDisposable {
  readonly platform: TestPlatform;
  readonly functionUrl: string;
  /** Pushes a handler that answers with this. Resolves when `git push` has succeeded. */
  deploy(answer: string): Promise<PushResult>;
}

export async function startBenchPlatform(): Promise<BenchPlatform> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await temporaryFolder());
  const platform = stack.use(await TestPlatform.start({ data: folder.path }));
  const repository = stack.use(
    await TestRepository.create(platform, "bench", { "stack.yml": stackFile("bench") }),
  );
  const deploy = async (answer: string) => {
    const pushed = await repository.push({ "bench/handler.js": handlerSaying(answer) });
    if (pushed.code !== 0) throw new Error(`git push failed:\n${pushed.output}\n${platform.logs}`);
    return pushed;
  };
  await deploy("first");
  await platform.answerOf("bench");
  const owned = stack.move();
  return {
    platform,
    functionUrl: platform.functionUrl("bench"),
    deploy,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
