import { z } from "zod";
import { procedure, requireOwner, router } from "./procedure.ts";

const OwnerRef = z.object({ owner: z.string().max(63) });
const SecretRef = OwnerRef.extend({ name: z.string().max(253) });

/** Write-only: no procedure gives a value back. */
export const secretsRouter = router({
  list: procedure.input(OwnerRef).query(async ({ ctx, input }) => {
    const owner = requireOwner(ctx.person, input.owner);
    return [...(await ctx.ports.secrets.list(owner.id))];
  }),

  set: procedure
    .input(SecretRef.extend({ value: z.string().max(256 * 1024) }))
    .mutation(async ({ ctx, input }) => {
      const owner = requireOwner(ctx.person, input.owner);
      await ctx.ports.secrets.set(owner.id, input.name, input.value);
      await ctx.ports.audit.append({
        actor: ctx.person.subject,
        action: "secret.set",
        object: `${owner.slug}/${input.name}`,
        result: "set",
      });
    }),

  remove: procedure.input(SecretRef).mutation(async ({ ctx, input }) => {
    const owner = requireOwner(ctx.person, input.owner);
    await ctx.ports.secrets.remove(owner.id, input.name);
    await ctx.ports.audit.append({
      actor: ctx.person.subject,
      action: "secret.remove",
      object: `${owner.slug}/${input.name}`,
      result: "removed",
    });
  }),
});
