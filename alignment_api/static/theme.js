// Themes: light, dark, or the system's.

const STORED = "essa-theme";
const NEXT = { system: "light", light: "dark", dark: "system" };

/** The chosen theme: `system`, `light` or `dark`. */
export function theme() {
  return document.documentElement.dataset.theme ?? "system";
}

/** Switch to the next theme and return it. */
export function nextTheme() {
  const chosen = NEXT[theme()];
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  try {
    if (chosen === "system") localStorage.removeItem(STORED);
    else localStorage.setItem(STORED, chosen);
  } catch {
    // Storage is blocked: the choice lasts until the page is closed.
  }
  return chosen;
}
