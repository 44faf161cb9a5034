// Who is using the page. The key lives in this tab's session and is sent with every request.

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

/** Remember a key for as long as this tab is open; null forgets it. */
export function setKey(value) {
  if (value === null) sessionStorage.removeItem(STORED);
  else sessionStorage.setItem(STORED, value);
}

/** The header that proves who asks; nothing where there is no key. */
export function authorization() {
  const value = key();
  return value ? { Authorization: `Bearer ${value}` } : {};
}

/** The answer of `/v1/organization/me`, or null before anybody is known. */
export function identity() {
  return who;
}

export function setIdentity(answer) {
  who = answer;
  for (const listener of listeners) listener(who);
}

/** Call `listener` whenever somebody logs in or out. */
export function onIdentity(listener) {
  listeners.add(listener);
}

/** Whether the key has a scope: `read`, `submit`, `code` or `admin`. */
export function can(scope) {
  return who?.key.scopes.includes(scope) ?? false;
}

/** Whether the service asks for keys at all. */
export function isLoginNeeded() {
  return who === null || who.key.id !== null;
}
