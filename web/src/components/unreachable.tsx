import { Failed } from "./failed.tsx";
import { Plain } from "./plain.tsx";

/** Before anything was ever loaded. Asking goes on by itself. */
export function Unreachable({ error, retry }: { error: { readonly message: string }; retry: () => void }) {
  return (
    <Plain title="Not connected">
      <Failed what="the dashboard" error={error} retry={retry} />
      <p>
        Functions that are live keep answering meanwhile. This page asks again every few seconds and goes on
        by itself.
      </p>
    </Plain>
  );
}
