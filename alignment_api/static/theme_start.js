// Runs before the first paint, so that the page does not flash in another theme.
"use strict";
try {
  const theme = localStorage.getItem("essa-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is blocked: the system's theme is used.
}
