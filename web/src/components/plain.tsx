import type { ReactNode } from "react";
import { Brand } from "./brand.tsx";
import { ThemeSwitch } from "./theme-switch.tsx";

/** A page for someone who is not signed in: no navigation, one thing to do. */
export function Plain({ title, children }: { title: string; children: ReactNode }) {
  return (
    <div className="container-narrow px-3 py-5">
      <title>{`${title} · OpenFaaS Cloud`}</title>
      <div className="d-flex align-items-center justify-content-between mb-4">
        <Brand />
        <ThemeSwitch />
      </div>
      <main className="card">
        <div className="card-body p-4">
          <h1 className="h3 mb-3">{title}</h1>
          {children}
        </div>
      </main>
    </div>
  );
}
