// The user of the page. Its key is kept in this tab's session and sent with every request.

const STORED = "essa-key";
const listeners = new Set();
let who = null;

/** The key of this session, or null. */
export function key() {
  try {
    return sessionStorage.getItem(STORED);
  } catch {
    return null;
  }
}

/** Keep a key for as long as this tab is open; null forgets it. */
export function setKey(value) {
  if (value === null) sessionStorage.removeItem(STORED);
  else sessionStorage.setItem(STORED, value);
}

/** The header with the key; empty without a key. */
export function authorization() {
  const value = key();
  return value ? { Authorization: `Bearer ${value}` } : {};
}

/** The answer of `/v1/organization/me`, or null while the user is unknown. */
export function identity() {
  return who;
}

export function setIdentity(answer) {
  who = answer;
  for (const listener of listeners) listener(who);
}

/** Call `listener` on every login and logout. */
export function onIdentity(listener) {
  listeners.add(listener);
}

/** Whether the key has a scope: `read`, `submit`, `code` or `admin`. */
export function can(scope) {
  return who?.key.scopes.includes(scope) ?? false;
}

/** Whether the service requires keys at all. */
export function isLoginNeeded() {
  return who === null || who.key.id !== null;
}
