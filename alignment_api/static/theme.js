// Light, dark, or what the system says.

const STORED = "essa-theme";
const NEXT = { system: "light", light: "dark", dark: "system" };

/** The chosen theme: `system`, `light` or `dark`. */
export function theme() {
  return document.documentElement.dataset.theme ?? "system";
}

/** Take the next theme and return it. */
export function nextTheme() {
  const chosen = NEXT[theme()];
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  try {
    if (chosen === "system") localStorage.removeItem(STORED);
    else localStorage.setItem(STORED, chosen);
  } catch {
    // Storage is blocked: the choice holds until the page is closed.
  }
  return chosen;
}
