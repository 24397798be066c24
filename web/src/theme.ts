/** Light, dark, or as the system has it. `public/theme.js` applies the same choice before the first paint. */
export type Theme = "light" | "dark" | "system";

const storageKey = "theme";
const systemDark = matchMedia("(prefers-color-scheme: dark)");

export function rememberedTheme(): Theme {
  const remembered = localStorage.getItem(storageKey);
  return remembered === "light" || remembered === "dark" ? remembered : "system";
}

export function chooseTheme(theme: Theme): void {
  if (theme === "system") localStorage.removeItem(storageKey);
  else localStorage.setItem(storageKey, theme);
  apply();
}

export function followSystemTheme(): void {
  systemDark.addEventListener("change", apply);
}

function apply(): void {
  const theme = rememberedTheme();
  const dark = theme === "dark" || (theme === "system" && systemDark.matches);
  document.documentElement.dataset["bsTheme"] = dark ? "dark" : "light";
}
