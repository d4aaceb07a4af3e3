// The page talks to the member that it came from, and to nobody else.

const patience = 4000; // ms, beyond what the member itself waits for others

// AdminError is a refusal, with the member's own words.
export class AdminError extends Error {}

async function ask(path, options = {}) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(patience), cache: "no-store", ...options });
  if (answer.ok) return answer.json();
  const body = await answer.text();
  let why = `${answer.status} ${answer.statusText}`;
  try {
    const problem = JSON.parse(body);
    why = problem.detail ? `${problem.title}: ${problem.detail}` : problem.title || why;
  } catch {
    // Not one of the member's own answers: its status is all there is.
  }
  throw new AdminError(why);
}

export const cluster = () => ask("/admin/cluster");
export const ring = () => ask("/admin/ring");
export const key = (name) => ask(`/admin/ring?key=${encodeURIComponent(name)}`);
export const devMembers = async () => (await ask("/admin/dev/members")).members;
export const order = (verb, node) => ask(`/admin/dev/${verb}?node=${encodeURIComponent(node)}`, { method: "POST" });

const kinds = [
  "started", "joined", "ready", "leaving", "left", "ended", "gone", "healed", "ring", "claimed", "yielded", "succeeded",
  "fetched", "handed-over", "stood-still", "draining", "held-off", "founded", "lost", "found", "forgotten",
  "waiting", "unreached", "isolated", "links-work", "clock-wrong", "clock-right", "clock-jumped", "clock-set",
];

// follow calls told for each event of each node, and tells whether the stream is
// there. The browser opens it again by itself.
export function follow(told, connected) {
  const stream = new EventSource("/admin/events?scope=cluster");
  for (const kind of kinds) stream.addEventListener(kind, (e) => told(JSON.parse(e.data)));
  stream.addEventListener("open", () => connected(true));
  stream.addEventListener("error", () => connected(false));
  return stream;
}
