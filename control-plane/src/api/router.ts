import { auditRouter } from "./audit.ts";
import { functionsRouter } from "./functions.ts";
import { hostsRouter } from "./hosts.ts";
import { ownersRouter } from "./owners.ts";
import { platformRouter } from "./platform.ts";
import { router } from "./procedure.ts";
import { repositoriesRouter } from "./repositories.ts";
import { runsRouter } from "./runs.ts";
import { secretsRouter } from "./secrets.ts";
import { sessionRouter } from "./session.ts";
import { tokensRouter } from "./tokens.ts";

export const appRouter = router({
  session: sessionRouter,
  platform: platformRouter,
  owners: ownersRouter,
  functions: functionsRouter,
  hosts: hostsRouter,
  repositories: repositoriesRouter,
  runs: runsRouter,
  secrets: secretsRouter,
  tokens: tokensRouter,
  audit: auditRouter,
});

/** The one thing the dashboard imports. */
export type AppRouter = typeof appRouter;
