// The studio's addresses. Every error is a sentence to show.

export class Trouble extends Error {
  constructor(status, sentence) { super(sentence); this.status = status; }
}

async function answer(response) {
  if (response.ok) return response.json();
  let sentence = `The studio answered ${response.status}.`;
  try {
    const text = await response.text();
    sentence = text.startsWith("{") ? JSON.parse(text).error || sentence : text.trim() || sentence;
  } catch { /* the status alone */ }
  throw new Trouble(response.status, sentence);
}

async function send(method, path, body, kind) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "content-type": kind || "application/json" },
      body: body === undefined || kind ? body : JSON.stringify(body),
    });
  } catch {
    throw new Trouble(0, "The studio does not answer. Is `dreambooth web` still running? Your runs go on without it.");
  }
  return answer(response);
}

export const get = (path) => send("GET", path);
export const post = (path, body = {}) => send("POST", path, body);
export const put = (path, body) => send("PUT", path, body);
export const patch = (path, body) => send("PATCH", path, body);
export const remove = (path) => send("DELETE", path);
export const upload = (path, file) => send("POST", path, file, file.type.startsWith("image/") ? file.type : "application/octet-stream");

export const sampleUrl = (run, sample, size) =>
  `/api/runs/${run}/samples/${sample.stage}/${encodeURIComponent(sample.file)}` + (size ? `?size=${size}` : "");
