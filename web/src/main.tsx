import "bootstrap/dist/css/bootstrap.min.css";
import "./style.css";
import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { BrowserRouter } from "react-router";
import { App } from "./app.tsx";
import { Connection, ConnectionContext } from "./connection.ts";
import { followSystemTheme } from "./theme.ts";
import { createClient, refusalCode, TRPCProvider } from "./trpc.ts";

const connection = new Connection();
const client = createClient(connection);

/** Whatever is refused for want of a session makes the session be asked for again; the pages follow it. */
function onError(error: Error): void {
  if (refusalCode(error) === "UNAUTHORIZED")
    void queryClient.invalidateQueries({ queryKey: [["session", "current"]] });
}

const queryClient: QueryClient = new QueryClient({
  queryCache: new QueryCache({ onError }),
  mutationCache: new MutationCache({ onError }),
  defaultOptions: {
    queries: {
      // The platform may run on this very machine: a browser that believes itself offline still reaches it.
      networkMode: "always",
      retry: (failures, error) => refusalCode(error) === undefined && failures < 1,
      retryDelay: 500,
    },
    mutations: { networkMode: "always" },
  },
});

followSystemTheme();

const root = document.getElementById("root");
if (root === null) throw new Error("index.html has no #root");

createRoot(root).render(
  <StrictMode>
    <ConnectionContext value={connection}>
      <QueryClientProvider client={queryClient}>
        <TRPCProvider trpcClient={client} queryClient={queryClient}>
          <BrowserRouter basename={import.meta.env.BASE_URL}>
            <App />
          </BrowserRouter>
        </TRPCProvider>
      </QueryClientProvider>
    </ConnectionContext>
  </StrictMode>,
);
