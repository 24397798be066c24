import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { Navigate, useLocation, useNavigate } from "react-router";
import { Command } from "../components/command.tsx";
import { Icon } from "../components/icon.tsx";
import { Plain } from "../components/plain.tsx";
import { refusalCode, useTRPC } from "../trpc.ts";

/** `#code=…` is posted once and taken out of the address bar first, so that it is in no history. */
export function SignInPage() {
  const trpc = useTRPC();
  const queryClient = useQueryClient();
  const navigate = useNavigate();
  const { pathname, hash } = useLocation();
  const session = useQuery(trpc.session.current.queryOptions());
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

  if (signIn.isPending) {
    return (
      <Plain title="Signing in">
        <p className="mb-0" role="status">
          <Icon name="repeat" className="turning me-2" />
          Checking the link …
        </p>
      </Plain>
    );
  }
  if (pathname === "/sign-in" && session.data && signIn.isIdle && hash === "")
    return <Navigate to="/" replace />;
  return (
    <Plain title="Sign in">
      {signIn.isError && (
        <div className="alert alert-danger" role="alert">
          <strong>That did not work.</strong>{" "}
          {refusalCode(signIn.error) === undefined
            ? "The control plane did not answer. Open the link again in a moment."
            : signIn.error.message}
        </div>
      )}
      <p>
        You sign in with a <strong>one-time link</strong>. The platform prints one in its terminal when it
        starts; open it in this browser. It works once, and for a short time.
      </p>
      <p className="mb-2">Need a new one? On the machine that runs the platform:</p>
      <Command text="npm start" what="the command that prints a link" />
    </Plain>
  );
}
