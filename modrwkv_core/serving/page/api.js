// Requests to the server that this page came from.

const KEY = "modrwkv-key";

export class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function useKey(key) {
  sessionStorage.setItem(KEY, key);
}

export async function request(path, { method = "GET", body, signal } = {}) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  // By this header a balancer finds the server that holds the session.
  const session = body?.session ?? path.match(/^v1\/sessions\/([^/]+)/)?.[1];
  if (session) headers["X-Session-Id"] = session;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, {
    method,
    headers,
    signal,
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (!response.ok) {
    let message = `the server answers with status ${response.status}`;
    try {
      message = (await response.json()).error.message;
    } catch {
      // Something between here and the server answered: the status is all there is.
    }
    throw new ServerError(response.status, message);
  }
  return response;
}

export async function json(path, options) {
  const response = await request(path, options);
  return response.status === 204 ? null : response.json();
}

// Yields the objects of a stream of server-sent events.
export async function* events(path, options) {
  const response = await request(path, options);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    held += value;
    const lines = held.split("\n");
    held = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new ServerError(500, event.error.message);
      yield event;
    }
  }
}
