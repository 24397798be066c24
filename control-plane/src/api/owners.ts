import { router, signedIn } from "./procedure.ts";
import type { OwnerView } from "./views.ts";

export const ownersRouter = router({
  /** Whom the person may act for, and as what. */
  list: signedIn.query(({ ctx }): OwnerView[] =>
    ctx.person.owners.map(({ slug, role, kind, login, source_host }) => ({
      slug,
      role,
      kind,
      login,
      host: source_host,
    })),
  ),
});
