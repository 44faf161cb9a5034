// Page: ask for a key, and test it before accepting it.

import { ApiError, api } from "../api.js";
import { setIdentity, setKey } from "../auth.js";
import { el, replace, setText } from "../dom.js";
import { go } from "../router.js";

/** See router.js. */
export async function show(root, params, signal) {
  root.classList.add("narrow");
  const field = el("input", { id: "key", type: "password", autocomplete: "current-password", spellcheck: "false", required: true, placeholder: "essa-…", "aria-describedby": "key-hint key-error" });
  const error = el("p", { id: "key-error", class: "field-error", role: "alert" });
  const submit = el("button", { type: "submit", class: "primary" }, "Log in");
  const form = el(
    "form",
    { class: "panel stack", novalidate: true },
    el("div", { class: "field" }, el("label", { for: "key" }, "API key"), field, error,
      el("p", { id: "key-hint", class: "hint" }, "Printed once by ", el("code", {}, "essa serve"), " when it starts for the first time. An admin makes others with ", el("code", {}, "essa keys add"), ". It is kept in this tab only.")),
    el("div", {}, submit),
  );
  const refuse = (text) => {
    setText(error, text);
    field.setAttribute("aria-invalid", String(text !== ""));
    if (text) field.focus();
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const value = field.value.trim();
    if (!value) return refuse("Type or paste a key.");
    submit.disabled = true;
    refuse("");
    try {
      setKey(value);
      const who = await api.get("/v1/organization/me", { signal });
      setIdentity(who);
      go(safePath(params.query.get("to")), { isReplacing: true });
    } catch (fault) {
      setKey(null);
      refuse(worded(fault));
    } finally {
      submit.disabled = false;
    }
  });
  replace(root, el("h1", { class: "login-title" }, "Log in"), form);
  field.focus();
}

function worded(fault) {
  if (!(fault instanceof ApiError)) return `The key could not be tried: ${fault.message}`;
  if (fault.status === 401) return "This key is not valid here: it is unknown, revoked or expired. Check that all of it was pasted.";
  if (fault.status === 403) return "This key may not read. Ask an admin for a key with the scope read.";
  return fault.message;
}

/** Accept only paths of this page, never another address. */
function safePath(path) {
  return path?.startsWith("/") && !path.startsWith("//") ? path : "/jobs";
}
