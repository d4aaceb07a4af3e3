// What happened, newest first, told by every node and put in words.

import { byId, count, el, millis, plural, timeOfDay } from "./dom.js";
import { named } from "./palette.js";

const most = 150; // lines kept
const quiet = 1500; // ms in which the past arrives, which no screen reader should read out
const known = new Set(); // which event of which boot has been told
const gone = new Set(); // boots whose end has been told

// Each kind: its mark, its tone, the member that it is about, and the words. A
// kind that is about others is told by the page's own member alone, or every
// node would tell the same.
const kinds = {
  joined: ["+", "good", other, () => "joined"],
  ready: ["+", "good", other, () => "is ready and takes its place"],
  healed: ["+", "good", other, () => "answers again"],
  leaving: ["→", "warn", other, () => "is leaving and hands over what it holds"],
  left: ["→", "warn", other, () => "has left"],
  gone: ["×", "bad", other, (d) => `is gone: ${d.why}`],
  ended: ["×", "bad", other, () => "does not answer and was given up"],
  claimed: ["•", "plain", at, (d) => `took over ${plural(d.partitions, "partition")}${copiesOf(d)}`],
  yielded: ["•", "plain", at, (d) => `gave ${plural(d.partitions, "partition")} to ${d.to}`],
  succeeded: ["•", "warn", at, (d) => `learned from ${d.told_by} that it was succeeded in ${plural(d.partitions, "partition")}`],
  fetched: ["•", "plain", at, (d) => `fetched ${plural(d.partitions, "partition")} in ${millis(d.ms)}`],
  "handed-over": ["•", "plain", at, (d) => `dropped ${plural(d.partitions, "partition")} that others have confirmed`],
  "stood-still": ["×", "warn", at, (d) => `stood still for ${millis(d.ms)}`],
  draining: ["→", "warn", at, () => "began to drain"],
  "held-off": ["×", "warn", at, (d) => `waits ${millis(d.ms)}: it has crashed too often`],
  founded: ["+", "warn", at, () => "founded a cluster: it knew of none"],
  waiting: ["×", "warn", at, (d) => `waits for a cluster: ${d.why}`],
  unreached: ["×", "bad", other, () => "is alive by gossip, and nothing else comes through to it"],
  isolated: ["×", "bad", at, (d) => `owns nothing: ${d.why}`],
  "links-work": ["+", "good", at, () => "has links that work again"],
  "clock-wrong": ["×", "bad", at, (d) => `owns nothing: ${d.why}`],
  "clock-right": ["+", "good", at, () => "has the right time again"],
  "clock-jumped": ["×", "warn", at, (d) => `does not follow its host's clock, which jumped by ${millis(d.ms)}`],
  "clock-set": ["•", "plain", at, (d) => `followed its host's clock by ${millis(d.ms)}`],
  lost: ["×", "bad", self, (d) => `counts about ${plural(d.sessions, "session")} as lost, of which no member has a copy left`],
  found: ["+", "good", at, (d) => `has ${plural(d.sessions, "session")} that were counted as lost`],
  forgotten: ["•", "plain", self, (d) => `was told that ${d.member} does not come back`],
};

// copiesOf says how the copies of claimed partitions were.
function copiesOf(d) {
  const parts = [];
  if (d.without_a_copy > 0) parts.push(`${count(d.without_a_copy)} of them with no copy left`);
  if (d.to_fetch > 0) parts.push(`${count(d.to_fetch)} to be fetched first`);
  return parts.length > 0 ? `, ${parts.join(", ")}` : ", every copy up to date";
}

function at(ev) { return ev.at; }
function other(ev) { return ev.data.member; }
function self(ev) { return ev.at; } // of what all members tell, what this page's own does

let lines = []; // { when, node }, newest first
const since = performance.now();

export function add(ev, from) {
  const id = `${ev.at} ${ev.boot} ${ev.id}`;
  const kind = kinds[ev.kind];
  if (known.has(id) || !kind || ((kind[2] === other || kind[2] === self) && ev.at !== from)) return;
  known.add(id);
  if (ev.kind === "gone") gone.add(ev.data.boot);
  if (ev.kind === "ended" && gone.has(ev.data.boot)) return; // told already, and with its reason
  const [mark, tone, about, words] = kind;
  const when = new Date(ev.time);
  const node = el("li", { class: tone, "data-kind": ev.kind },
    el("time", { datetime: ev.time }, timeOfDay(when)), el("span", { class: "mark", "aria-hidden": "true" }, mark),
    el("span", { class: "text" }, named(about(ev)), ` ${words(ev.data)}`));
  const log = byId("log");
  if (performance.now() - since > quiet) log.setAttribute("aria-live", "polite");
  let i = lines.findIndex((line) => line.when <= when);
  if (i < 0) i = lines.length;
  log.insertBefore(node, lines[i]?.node ?? null);
  lines.splice(i, 0, { when, node });
  for (const line of lines.splice(most)) line.node.remove();
}

// mind forgets what is out of the log's reach, now and then.
export function mind() {
  if (known.size > 20000) known.clear();
  if (lines.length === 0 && byId("log").childElementCount === 0) byId("log").append(el("li", { class: "empty" }, "Nothing yet."));
  else if (lines.length > 0) byId("log").querySelector(".empty")?.remove();
}
