// One loop: ask the member, make one list of members of what it says, and let
// each part of the page draw it. Events make it ask at once.

import * as api from "./api.js";
import { byId, el, natural, say, timeOfDay } from "./dom.js";
import * as figures from "./figures.js";
import * as log from "./log.js";
import * as lookup from "./lookup.js";
import * as members from "./members.js";
import { lookOf, meet } from "./palette.js";
import * as ring from "./ring.js";

const every = 1000; // ms between two looks
const retryMost = 8000; // ms between two tries while nobody answers

let cluster = null;
let fingerprint = null; // of the ring that is drawn
let seen = null; // when it was last drawn
let fails = 0;
let timer = null;
let looking = false;
let again = false;
const served = new Map(); // boot → what its counter said last

function start() {
  ring.build();
  lookup.build();
  window.addEventListener("holdfast:look", () => look());
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  api.follow(happened, () => {});
  look();
}

const waiting = []; // events that came before the first look
const changing = new Set(["joined", "ready", "healed", "leaving", "left", "ended", "gone", "ring", "claimed", "lost", "found", "forgotten"]);

function happened(ev) {
  if (cluster === null) waiting.push(ev);
  else log.add(ev, cluster.self);
  if (changing.has(ev.kind)) look();
}

// look asks and draws; one at a time, and again if it was called meanwhile.
async function look() {
  if (looking) {
    again = true;
    return;
  }
  looking = true;
  clearTimeout(timer);
  try {
    await lookOnce();
    if (fails > 0) answersAgain();
  } catch (error) {
    silent(error);
  }
  looking = false;
  if (again) {
    again = false;
    timer = setTimeout(look, 50);
    return;
  }
  if (document.hidden && fails === 0) return; // until the page is looked at
  timer = setTimeout(look, fails === 0 ? every : Math.min(retryMost, every * 2 ** (fails - 1)));
}

async function lookOnce() {
  const [answer, processes] = await Promise.all([api.cluster(), cluster?.dev ? api.devMembers() : null]);
  const dev = answer.dev ? processes ?? (await api.devMembers()) : null;
  cluster = answer;
  meet([...answer.members.filter((m) => m.role === "node").map((m) => m.name), ...(dev ?? []).filter((m) => m.node).map((m) => m.name)]);
  if (answer.fingerprint !== fingerprint) {
    const now = await api.ring();
    fingerprint = now.fingerprint;
    ring.draw(now);
  }
  const all = everyMember(answer, dev);
  figures.draw(answer, all);
  members.draw(all, answer.dev);
  for (const ev of waiting.splice(0)) log.add(ev, answer.self);
  log.mind();
  seen = new Date();
  document.body.dataset.phase = "live";
  say(byId("live-text"), "Live");
  lookup.refresh();
}

// everyMember is one entry for each name: the boot that takes part, else the
// newest one, and places of dev that have no process.
function everyMember(answer, dev) {
  const byName = new Map();
  for (const m of answer.members) {
    if (m.state === "superseded") continue;
    const before = byName.get(m.name);
    if (!before || (over(before) && !over(m))) byName.set(m.name, m); // the newest boot comes first
  }
  for (const d of dev ?? []) {
    if (!byName.has(d.name)) byName.set(d.name, { name: d.name, role: d.node ? "node" : "router", state: "stopped", share: 0, stats: null });
  }
  for (const m of answer.missing) {
    if (!byName.has(m.name)) byName.set(m.name, { name: m.name, boot: m.boot, role: m.role, state: "gone", share: 0, stats: null });
  }
  const missing = new Map(answer.missing.map((m) => [m.name, m]));
  const processes = new Map((dev ?? []).map((d) => [d.name, d.state]));
  return [...byName.values()]
    .map((m) => ({ ...m, process: processes.get(m.name), rate: rateOf(m), self: m.name === answer.self, missing: missing.get(m.name), tint: lookOf(m.name).tint }))
    .map((m) => ({ ...m, ...standing(m, answer.fingerprint) }))
    .sort((a, b) => natural(a.role, b.role) || natural(a.name, b.name));
}

// rateOf is operations per second since the last look, by the node's own clock.
function rateOf(m) {
  if (!m.stats) return null;
  const now = { at: m.stats.uptime_s, n: m.stats.counters.served ?? 0, rate: null };
  const before = served.get(m.boot);
  if (before && now.at - before.at < 0.3) return before.rate; // too short a time to tell
  if (before) now.rate = (now.n - before.n) / (now.at - before.at);
  served.set(m.boot, now);
  return now.rate;
}

// over says that a boot takes part no more.
const over = (m) => m.state === "gone" || m.state === "left";

// standing puts a member's state into a word and a tone.
function standing(m) {
  if (m.process === "stopped") return { condition: "stopped", tone: "bad", absent: true };
  if (m.process === "paused") return { condition: "paused", tone: "warn", absent: over(m) };
  if (m.state === "gone" && m.missing) return { condition: "missing", tone: "bad", absent: true, why: m.missing.ended ? "Its process has ended." : "It does not answer: frozen, or cut off." };
  if (m.state === "gone") return { condition: "gone", tone: "warn", absent: true };
  if (m.state === "left") return { condition: "left", tone: "warn", absent: true };
  if (m.state === "stopped") return { condition: "starting", tone: "warn", absent: true };
  if (m.error) return { condition: "silent", tone: "bad", absent: false, why: m.error };
  if (m.state === "leaving") return { condition: "leaving", tone: "warn", absent: false };
  if (m.state === "unfit") return { condition: "unfit", tone: "bad", absent: false, why: "It owns nothing: its /readyz says why." };
  if (m.state === "unreached") return { condition: "unreached", tone: "bad", absent: false, why: "Gossip knows it as alive, and nothing else comes through to it." };
  if (m.state !== "ready") return { condition: m.state, tone: "warn", absent: false };
  if (m.stats?.partitions.cold > 0) return { condition: "warming up", tone: "warn", absent: false };
  return { condition: "ready", tone: "good", absent: false };
}

function silent(error) {
  fails++;
  const refused = error instanceof api.AdminError;
  if (fails < 2 && !refused) return; // one lost answer is not worth a word
  document.body.dataset.phase = cluster === null ? "error" : "lost";
  say(byId("live-text"), "Disconnected");
  const text = refused
    ? `This member refuses: ${error.message}`
    : cluster === null
      ? "This address does not answer."
      : `${cluster.self} does not answer. What you see is how it was at ${timeOfDay(seen)}.`;
  const banner = byId("banner");
  if (banner.hidden) {
    banner.replaceChildren(el("span", {}, text), el("button", { type: "button", onclick: () => look() }, "Try again"));
    banner.hidden = false;
  }
  if (cluster === null) {
    say(byId("verdict"), "No answer");
    say(byId("summary-line"), "The page goes on asking.");
  }
}

function answersAgain() {
  fails = 0;
  byId("banner").hidden = true;
}

start();
