import { Route, Routes } from "react-router";
import { CanonicalOwner } from "./components/canonical-owner.tsx";
import { Layout } from "./components/layout.tsx";
import { AccountPage } from "./pages/account.tsx";
import { AuditPage } from "./pages/audit.tsx";
import { BuildLogPage } from "./pages/build-log.tsx";
import { FunctionPage } from "./pages/function.tsx";
import { FunctionsPage } from "./pages/functions.tsx";
import { HostsPage } from "./pages/hosts.tsx";
import { LogsPage } from "./pages/logs.tsx";
import { NotFoundPage } from "./pages/not-found.tsx";
import { RepositoriesPage } from "./pages/repositories.tsx";
import { RunPage } from "./pages/run.tsx";
import { SecretsPage } from "./pages/secrets.tsx";
import { SignInPage } from "./pages/sign-in.tsx";
import { Session } from "./session.tsx";

/** Static segments win over `:owner`; no owner can be named as one of them (RESERVED_SLUGS). */
export function App() {
  return (
    <Routes>
      <Route path="sign-in" element={<SignInPage />} />
      <Route
        element={
          <Session signedOut={<SignInPage />}>
            <Layout />
          </Session>
        }
      >
        <Route index element={<FunctionsPage />} />
        <Route path="runs/:id" element={<RunPage />} />
        <Route path="hosts" element={<HostsPage />} />
        <Route path="account" element={<AccountPage />} />
        <Route path="audit/:owner" element={<AuditPage />} />
        <Route path="repositories/:owner" element={<RepositoriesPage />} />
        <Route path="secrets/:owner" element={<SecretsPage />} />
        <Route element={<CanonicalOwner />}>
          <Route path=":owner" element={<FunctionsPage />} />
          <Route path=":owner/:function" element={<FunctionPage />} />
          <Route path=":owner/:function/function-log" element={<LogsPage />} />
          <Route path=":owner/:function/build-log" element={<BuildLogPage />} />
        </Route>
        <Route path="*" element={<NotFoundPage />} />
      </Route>
    </Routes>
  );
}
