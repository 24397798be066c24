import { router, signedIn } from "./procedure.ts";
import type { Platform } from "./views.ts";

export const platformRouter = router({
  about: signedIn.query(({ ctx }): Platform => {
    const { builder, runtime, urls } = ctx.ports;
    const { isolation } = runtime;
    return {
      systemUrl: urls.system,
      gitBaseUrl: urls.git,
      isolation:
        isolation.kind === "sandboxed"
          ? { sandboxed: true, text: `Builds and functions run in a sandbox (${isolation.by}).` }
          : { sandboxed: false, text: `No sandbox, so one owner only: ${isolation.reason}` },
      languages: builder.templates.map((name) => {
        const support = builder.supports(name);
        return { name, problem: support.kind === "supported" ? undefined : support.reason };
      }),
    };
  }),
});
