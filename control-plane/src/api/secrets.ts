import { z } from "zod";
import { ofOwner, router } from "./procedure.ts";

const SecretName = z.object({ name: z.string().max(253) });
const SecretValue = z.object({ value: z.string().max(256 * 1024) });

/** Write-only: no procedure gives a value back. */
export const secretsRouter = router({
  list: ofOwner("viewer").query(async ({ ctx }) => [...(await ctx.ports.secrets.list(ctx.owner.id))]),

  set: ofOwner("developer")
    .input(SecretName)
    .input(SecretValue)
    .mutation(async ({ ctx, input }) => {
      await ctx.ports.secrets.set(ctx.owner.id, input.name, input.value);
      await ctx.record({
        action: "secret.set",
        object: `${ctx.owner.slug}/${input.name}`,
        result: "set",
        ownerId: ctx.owner.id,
      });
    }),

  remove: ofOwner("developer")
    .input(SecretName)
    .mutation(async ({ ctx, input }) => {
      await ctx.ports.secrets.remove(ctx.owner.id, input.name);
      await ctx.record({
        action: "secret.remove",
        object: `${ctx.owner.slug}/${input.name}`,
        result: "removed",
        ownerId: ctx.owner.id,
      });
    }),
});
