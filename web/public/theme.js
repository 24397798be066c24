// Runs before the first paint, so that a dark page never flashes light. `src/theme.ts` changes it later.
(() => {
  const remembered = localStorage.getItem("theme");
  const dark =
    remembered === "dark" || (remembered !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.bsTheme = dark ? "dark" : "light";
})();
