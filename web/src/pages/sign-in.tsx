import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useEffect } from "react";
import { Navigate, useLocation, useNavigate } from "react-router";
import { Icon } from "../components/icon.tsx";
import { Plain } from "../components/plain.tsx";
import { RowsSkeleton } from "../components/rows-skeleton.tsx";
import { SignInHosts } from "../components/sign-in-hosts.tsx";
import { refusalCode, useTRPC } from "../trpc.ts";

/** `#code=…` is posted once and taken out of the address bar first, so that it is in no history. */
export function SignInPage() {
  const trpc = useTRPC();
  const queryClient = useQueryClient();
  const navigate = useNavigate();
  const { pathname, search, hash } = useLocation();
  const session = useQuery(trpc.session.current.queryOptions());
  const hosts = useQuery(trpc.session.hosts.queryOptions());
  const { mutate, ...signIn } = useMutation(
    trpc.session.signIn.mutationOptions({
      onSuccess: (person) => {
        queryClient.setQueryData(trpc.session.current.queryKey(), person);
        navigate("/", { replace: true });
      },
    }),
  );

  useEffect(() => {
    const code = pathname === "/sign-in" ? new URLSearchParams(hash.slice(1)).get("code") : null;
    if (code === null) return;
    navigate(pathname, { replace: true });
    mutate({ code });
  }, [pathname, hash, navigate, mutate]);

  const submitToken = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const token = new FormData(event.currentTarget).get("token");
    if (typeof token === "string") mutate({ token: token.trim() });
  };

  if (signIn.isPending) {
    return (
      <Plain title="Signing in">
        <p className="mb-0" role="status">
          <Icon name="repeat" className="turning me-2" />
          Signing in …
        </p>
      </Plain>
    );
  }
  if (pathname === "/sign-in" && session.data && signIn.isIdle && hash === "")
    return <Navigate to="/" replace />;
  // All ways at once: one that came later would push another from under the pointer.
  if (hosts.isPending) {
    return (
      <Plain title="Sign in">
        <RowsSkeleton rows={3} what="the ways to sign in" />
      </Plain>
    );
  }
  return (
    <Plain title="Sign in">
      {signIn.isError && (
        <div className="alert alert-danger" role="alert">
          <strong>That did not work.</strong>{" "}
          {refusalCode(signIn.error) === undefined
            ? "The control plane did not answer. Try again in a moment."
            : signIn.error.message}
        </div>
      )}
      {hosts.data !== undefined && hosts.data.length > 0 && (
        <SignInHosts
          hosts={hosts.data}
          returnTo={`/dashboard${pathname === "/sign-in" ? "/" : pathname + search}`}
        />
      )}
      <p>
        {hosts.data !== undefined && hosts.data.length > 0 ? "Or open" : "Open"} the{" "}
        <strong>one-time link</strong> that the platform prints when it starts. It works once, within the
        hour.
      </p>
      <p>
        Or use your <strong>access token</strong>: the password in your push URL,{" "}
        <code>http://owner:token@…</code>
      </p>
      <form onSubmit={submitToken}>
        <label className="form-label" htmlFor="token">
          Access token
        </label>
        <div className="input-group">
          <input
            className="form-control font-monospace"
            id="token"
            name="token"
            type="password"
            autoComplete="current-password"
            maxLength={200}
            required
          />
          <button className="btn btn-primary" type="submit">
            Sign in
          </button>
        </div>
      </form>
    </Plain>
  );
}
