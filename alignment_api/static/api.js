// Requests to the service. Answers are parsed; errors are `ApiError` with the service's own words.

import { authorization, setIdentity, setKey } from "./auth.js";
import { messages } from "./sse.js";

/** A refusal by the service; `status` is 0 if the service did not answer. */
export class ApiError extends Error {
  constructor(status, { message, code = null, param = null }) {
    super(message);
    this.name = "ApiError";
    Object.assign(this, { status, code, param });
  }
}

export const api = {
  get: (path, options = {}) => json("GET", path, options),
  post: (path, body, options = {}) => json("POST", path, { ...options, body }),
  delete: (path, options = {}) => json("DELETE", path, options),
  /** Send a file as multipart, with `fields` as further form fields. */
  upload: (path, file, fields = {}, options = {}) => json("POST", path, { ...options, form: { ...fields, file } }),
  text: async (path, options = {}) => (await request("GET", path, options)).text(),
  /** Return the body as a blob, with the file name that the service proposes. */
  download: async (path, options = {}) => {
    const answer = await request("GET", path, options);
    return { blob: await answer.blob(), filename: proposedName(answer) };
  },
  /** Return the raw response, for streams. */
  request,
  /** Send `body` and yield every JSON message of the response's event stream, until `[DONE]`. */
  stream: async function* (path, body, options = {}) {
    const answer = await request("POST", path, { ...options, body });
    for await (const { data } of messages(answer.body)) {
      if (data === "[DONE]") return;
      const value = JSON.parse(data);
      if (value.error) throw new ApiError(500, value.error);
      yield value;
    }
  },
};

/** Whether an error only means that its page was left. */
export function isAbort(error) {
  return error?.name === "AbortError";
}

async function json(method, path, options) {
  const answer = await request(method, path, options);
  return answer.status === 204 ? null : answer.json();
}

/** `options`: `query` (object), `body` (sent as JSON), `form` (multipart), `headers`, `signal`. */
async function request(method, path, { query, body, form, headers = {}, signal } = {}) {
  const given = { ...authorization(), ...headers };
  if (body !== undefined) given["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path + queryText(query), {
      method,
      signal,
      headers: given,
      cache: "no-store",
      body: form ? formData(form) : body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ApiError(0, { message: "The service does not answer. Is it running?", code: "unreachable" });
  }
  if (answer.ok) return answer;
  const error = new ApiError(answer.status, await fault(answer));
  if (error.status === 401 && given.Authorization === authorization().Authorization) {
    setKey(null);
    setIdentity(null);
  }
  throw error;
}

async function fault(answer) {
  try {
    return (await answer.json()).error ?? {};
  } catch {
    return { message: `The service answered ${answer.status} ${answer.statusText}` };
  }
}

function formData(fields) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  return form;
}

/** Build `?a=1&b=2`, skipping values that are null or empty. */
export function queryText(query = {}) {
  const known = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return known.length ? `?${new URLSearchParams(known)}` : "";
}

function proposedName(answer) {
  const header = answer.headers.get("Content-Disposition") ?? "";
  return header.match(/filename="?([^";]+)"?/)?.[1] ?? "download";
}
