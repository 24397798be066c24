import { functionsRouter } from "./functions.ts";
import { hostsRouter } from "./hosts.ts";
import { platformRouter } from "./platform.ts";
import { router } from "./procedure.ts";
import { repositoriesRouter } from "./repositories.ts";
import { runsRouter } from "./runs.ts";
import { secretsRouter } from "./secrets.ts";
import { sessionRouter } from "./session.ts";

export const appRouter = router({
  session: sessionRouter,
  platform: platformRouter,
  functions: functionsRouter,
  hosts: hostsRouter,
  repositories: repositoriesRouter,
  runs: runsRouter,
  secrets: secretsRouter,
});

/** The one thing the dashboard imports. */
export type AppRouter = typeof appRouter;
