import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "react-router";
import { useTRPC } from "../trpc.ts";
import { Icon } from "./icon.tsx";
import { Menu } from "./menu.tsx";
import { ThemeSwitch } from "./theme-switch.tsx";

export function AccountMenu({ name, isOperator }: { name: string; isOperator: boolean }) {
  const trpc = useTRPC();
  const queryClient = useQueryClient();
  const signOut = useMutation(
    trpc.session.signOut.mutationOptions({
      onSuccess: () => queryClient.setQueryData(trpc.session.current.queryKey(), null),
    }),
  );
  return (
    <Menu
      end
      name={`Account of ${name}`}
      label={
        <>
          <Icon name="person" />
          <span className="d-none d-md-inline text-truncate account-name">{name}</span>
        </>
      }
    >
      <div className="px-3 py-1">
        <div className="small text-body-secondary">Signed in as</div>
        <div className="fw-semibold text-break">{name}</div>
      </div>
      <hr className="dropdown-divider" />
      <div className="px-3 py-1 d-flex align-items-center justify-content-between gap-4">
        <span>Theme</span>
        <ThemeSwitch />
      </div>
      <hr className="dropdown-divider" />
      <Link to="/account" className="dropdown-item d-flex align-items-center gap-2">
        <Icon name="person" />
        Account
      </Link>
      {isOperator && (
        <Link to="/hosts" className="dropdown-item d-flex align-items-center gap-2">
          <Icon name="system" />
          Source hosts
        </Link>
      )}
      <button
        type="button"
        className="dropdown-item d-flex align-items-center gap-2"
        onClick={() => signOut.mutate()}
        disabled={signOut.isPending}
      >
        <Icon name="leave" />
        Sign out
      </button>
      {signOut.isError && (
        <p className="px-3 mb-0 small text-danger-emphasis" role="alert">
          Could not sign out: the control plane did not answer.
        </p>
      )}
    </Menu>
  );
}
