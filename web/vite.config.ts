import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  base: "/dashboard/",
  plugins: [react()],
  server: { proxy: { "/api": "http://system.localhost:8080" } },
});
