// The first thing to read: one sentence that says whether all is well, and four
// figures of the whole cluster.

import { byId, count, el, list, millis, plural, rate, say, svg } from "./dom.js";

const kept = 60; // seconds of the line under operations/s
const rates = [];
let shown = null;
let spark = null;

function build() {
  shown = {};
  const figure = (name, label, extra) => {
    shown[name] = el("dd");
    return el("div", {}, el("dt", {}, label), shown[name], extra);
  };
  shown.line = svg("polyline", { points: "" });
  spark = svg("svg", { class: "spark", viewBox: `0 0 ${kept} 20`, preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("path", { d: `M0 19.5H${kept}` }), shown.line);
  byId("figures").replaceChildren(
    figure("sessions", "Session copies"),
    figure("rate", "Operations/s", spark),
    figure("lag", "Replication lag"),
    figure("below", "Below target"));
}

export function draw(cluster, members) {
  if (shown === null) build();
  const nodes = members.filter((m) => m.role === "node" && m.stats);
  const sum = (of) => nodes.reduce((total, m) => total + of(m), 0);
  const speed = sum((m) => m.rate ?? 0);
  say(shown.sessions, count(sum((m) => m.stats.sessions)));
  say(shown.rate, rate(speed));
  say(shown.lag, millis(Math.max(0, ...nodes.map((m) => m.stats.lag_ms))));
  say(shown.below, count(sum((m) => m.stats.below_target)));
  shown.below.classList.toggle("attention", sum((m) => m.stats.below_target) > 0);
  if (nodes.some((m) => m.rate !== null)) drawLine(speed);

  const { tone, text, aside } = verdict(members, cluster);
  say(byId("verdict"), text);
  document.body.dataset.tone = tone;
  document.title = tone === "good" ? "Holdfast" : `${text} – Holdfast`;
  const present = members.filter((m) => !m.absent);
  const many = (role) => present.filter((m) => m.role === role).length;
  say(byId("summary-line"), `${plural(many("node"), "node")}, ${plural(many("router"), "router")}, ${cluster.copies === 1 ? "1 copy" : `${cluster.copies} copies`} of each session. ${aside ?? ""}`);
  say(byId("where"), `Cluster ${cluster.cluster}, seen from ${cluster.self}`);
}

function drawLine(speed) {
  rates.push(speed);
  if (rates.length > kept) rates.shift();
  const top = Math.max(1, ...rates);
  const from = kept - rates.length;
  spark.classList.toggle("drawn", rates.length > 3);
  shown.line.setAttribute("points", rates.map((r, i) => `${from + i + 0.5},${(19 - (18 * r) / top).toFixed(1)}`).join(" "));
}

// verdict says what matters most.
function verdict(members, cluster) {
  const nodes = members.filter((m) => m.role === "node");
  const here = nodes.filter((m) => !m.absent);
  const sum = (of) => here.reduce((total, m) => total + (m.stats ? of(m.stats) : 0), 0);
  const silent = here.filter((m) => !m.stats).map((m) => m.name);
  const away = nodes.filter((m) => m.absent && m.tone === "bad").map((m) => m.name);
  const cold = sum((s) => s.partitions.cold);
  const below = sum((s) => s.below_target);
  const rings = new Set(here.filter((m) => m.stats).map((m) => m.stats.fingerprint)).add(cluster.fingerprint);
  const are = (names) => (names.length === 1 ? "is" : "are");
  if (here.some((m) => m.stats?.split_suspected)) return { tone: "bad", text: "Less than half of the cluster is here", aside: "The network may be split." };
  if (here.every((m) => m.share === 0)) return { tone: "bad", text: "No node is in the ring", aside: "Sessions are served again when the first one is ready." };
  if (silent.length > 0) return { tone: "bad", text: `${list(silent)} ${silent.length === 1 ? "does" : "do"} not answer` };
  if (rings.size > 1) return { tone: "warn", text: "The members are agreeing on a new ring" };
  if (cold > 0) return { tone: "warn", text: `${plural(cold, "partition")} being taken over` };
  if (below > 0) return { tone: "warn", text: `${plural(below, "session")} waiting for a copy` };
  if (here.length < cluster.copies) return { tone: "warn", text: `${plural(here.length, "node")} for ${cluster.copies} copies`, aside: "If it ends as well, sessions are lost." };
  if (away.length > 0) return { tone: "good", text: `${list(away)} ${are(away)} gone, every session is in place` };
  return { tone: "good", text: "Every session is in place" };
}
