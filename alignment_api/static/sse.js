// Server-sent events, read with fetch, because EventSource cannot send a key.

import { authorization } from "./auth.js";

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 15_000;

/** Yield `{id, event, data}` for every message of a response body. */
export async function* messages(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      // A lone CR may be the first half of CRLF, so it waits for the next chunk.
      rest = (rest + value).replaceAll("\r\n", "\n");
      const blocks = rest.split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const message = parsed(block);
        if (message) yield message;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * Follow the events of a job: all so far, then new ones, across lost connections.
 *
 * `onEvent(event)` gets event objects of the API. `after` skips events up to that number. `onState`
 * is called with `live`, `waiting` (for the next attempt) and `ended`. Resolves with the job's last
 * status, or undefined once `signal` aborts. Rejects if the service refuses for good, as with 404.
 */
export async function subscribe(jobId, onEvent, signal, { after = 0, onState = () => {} } = {}) {
  const place = { last: after, pause: FIRST_PAUSE_MS };
  while (!signal.aborted) {
    try {
      const status = await readOnce(jobId, place, onEvent, onState, signal);
      if (status !== undefined) {
        onState("ended");
        return status;
      }
    } catch (error) {
      if (signal.aborted) return undefined;
      if (error.isFinal) throw error;
    }
    if (signal.aborted) return undefined;
    onState("waiting");
    await pause(place.pause, signal);
    place.pause = Math.min(2 * place.pause, LONGEST_PAUSE_MS);
  }
  return undefined;
}

async function readOnce(jobId, place, onEvent, onState, signal) {
  const answer = await fetch(`/v1/fine_tuning/jobs/${encodeURIComponent(jobId)}/events`, {
    headers: { ...authorization(), Accept: "text/event-stream", "Last-Event-ID": String(place.last) },
    cache: "no-store",
    signal,
  });
  if (!answer.ok) throw refused(answer);
  onState("live");
  for await (const { id, event, data } of messages(answer.body)) {
    if (signal.aborted) return undefined;
    place.pause = FIRST_PAUSE_MS;
    if (event === "end") return JSON.parse(data).status;
    if (id) place.last = Number(id);
    onEvent(JSON.parse(data));
  }
  return undefined;
}

function refused(answer) {
  const error = new Error(`The event stream was refused with status ${answer.status}`);
  error.isFinal = answer.status < 500 && answer.status !== 429;
  return error;
}

function parsed(block) {
  const message = { id: "", event: "message", data: [] };
  for (const line of block.split("\n")) {
    const [, field, value] = line.match(/^([^:]*):? ?(.*)$/s);
    if (field === "data") message.data.push(value);
    else if (field === "id" || field === "event") message[field] = value;
  }
  return message.data.length ? { ...message, data: message.data.join("\n") } : null;
}

/** Wait, or return early when `signal` aborts. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
