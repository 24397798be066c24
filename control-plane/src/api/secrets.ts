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
      const { secrets, store } = ctx.ports;
      const object = `${ctx.owner.slug}/${input.name}`;
      await store.transaction().execute(async (transaction) => {
        await secrets.set(ctx.owner.id, input.name, input.value, transaction);
        const event = { action: "secret.set", object, result: "set", ownerId: ctx.owner.id };
        await ctx.record(event, transaction);
      });
    }),

  remove: ofOwner("developer")
    .input(SecretName)
    .mutation(async ({ ctx, input }) => {
      const { secrets, store } = ctx.ports;
      const object = `${ctx.owner.slug}/${input.name}`;
      await store.transaction().execute(async (transaction) => {
        await secrets.remove(ctx.owner.id, input.name, transaction);
        const event = { action: "secret.remove", object, result: "removed", ownerId: ctx.owner.id };
        await ctx.record(event, transaction);
      });
    }),
});
