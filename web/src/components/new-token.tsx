import { useEffect, useId, useRef } from "react";
import { Command } from "./command.tsx";

/** The one time that a token is shown. The keyboard comes here, and with it whoever listens. */
export function NewToken({ name, token }: { name: string; token: string }) {
  const id = useId();
  const self = useRef<HTMLElement>(null);
  useEffect(() => self.current?.focus(), []);
  return (
    <section ref={self} tabIndex={-1} className="alert alert-success" aria-labelledby={id}>
      <p className="mb-2" id={id}>
        This is <strong>{name}</strong>. Copy it now: it is not shown again.
      </p>
      <Command what="the access token" text={token} />
    </section>
  );
}
