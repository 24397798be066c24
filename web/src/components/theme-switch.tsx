import { useState } from "react";
import { chooseTheme, rememberedTheme, type Theme } from "../theme.ts";
import { Icon } from "./icon.tsx";

const themes: readonly { readonly theme: Theme; readonly word: string }[] = [
  { theme: "light", word: "Light" },
  { theme: "dark", word: "Dark" },
  { theme: "system", word: "As the system" },
];

export function ThemeSwitch() {
  const [chosen, setChosen] = useState(rememberedTheme);
  const choose = (theme: Theme) => {
    chooseTheme(theme);
    setChosen(theme);
  };
  return (
    <fieldset className="btn-group btn-group-sm" aria-label="Theme">
      {themes.map(({ theme, word }) => (
        <button
          key={theme}
          type="button"
          className={`btn btn-outline-secondary ${chosen === theme ? "active" : ""}`}
          aria-pressed={chosen === theme}
          aria-label={word}
          title={word}
          onClick={() => choose(theme)}
        >
          <Icon name={theme} />
        </button>
      ))}
    </fieldset>
  );
}
