// The bar at the top: navigation, user and theme.

import { identity, isLoginNeeded, onIdentity, setIdentity, setKey } from "./auth.js";
import { el, replace } from "./dom.js";
import { currentNav, go } from "./router.js";
import { nextTheme, theme } from "./theme.js";

const PAGES = [
  ["jobs", "#/jobs", "Jobs"],
  ["new", "#/jobs/new", "New job"],
  ["compare", "#/compare", "Compare"],
  ["comparisons", "#/comparisons", "Comparisons"],
  ["playground", "#/playground", "Playground"],
];

/** Fill `root`, and redraw it on login and logout. Returns a function that redraws it. */
export function topBar(root) {
  const draw = () => {
    const who = identity();
    const name = el("a", { class: "brand", href: "#/jobs" }, "ESSA");
    replace(root, name, who && navigation(), el("div", { class: "bar-end" }, who && account(who), themeButton()));
  };
  onIdentity(draw);
  return draw;
}

function navigation() {
  const here = currentNav();
  const links = PAGES.map(([id, href, text]) => el("a", { href, "aria-current": id === here ? "page" : null }, text));
  return el("nav", { "aria-label": "Pages" }, links);
}

function account(who) {
  if (!isLoginNeeded()) return el("span", { class: "who", title: "This service asks for no keys" }, who.project.name);
  const leave = () => {
    setKey(null);
    setIdentity(null);
    go("/login");
  };
  const title = `Key ${who.key.name} of project ${who.project.name}; it may ${who.key.scopes.join(", ")}`;
  return [
    el("span", { class: "who", title }, `${who.project.name} / ${who.key.name}`),
    el("button", { type: "button", class: "quiet", onclick: leave }, "Log out"),
  ];
}

function themeButton() {
  const button = el("button", { type: "button", class: "quiet theme" });
  const label = () => {
    replace(button, el("span", { class: "soft" }, "Theme: "), { system: "auto", light: "light", dark: "dark" }[theme()]);
  };
  button.addEventListener("click", () => {
    nextTheme();
    label();
  });
  label();
  return button;
}
