import { auditRouter } from "./audit.ts";
import { functionsRouter } from "./functions.ts";
import { platformRouter } from "./platform.ts";
import { router } from "./procedure.ts";
import { runsRouter } from "./runs.ts";
import { secretsRouter } from "./secrets.ts";
import { sessionRouter } from "./session.ts";

export const appRouter = router({
  session: sessionRouter,
  platform: platformRouter,
  functions: functionsRouter,
  runs: runsRouter,
  secrets: secretsRouter,
  audit: auditRouter,
});

/** The one thing the dashboard imports. */
export type AppRouter = typeof appRouter;
