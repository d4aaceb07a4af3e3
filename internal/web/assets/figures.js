// The first thing to read: one sentence that says whether all is well, and four
// figures of the whole cluster.

import { byId, bytes, count, el, list, millis, plural, rate, say, svg } from "./dom.js";

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

// verdict says what matters most, and names every member that is not as it
// should be.
function verdict(members, cluster) {
  const nodes = members.filter((m) => m.role === "node");
  const here = nodes.filter((m) => !m.absent);
  const inRing = here.filter((m) => m.share > 0).length;
  const sum = (of) => here.reduce((total, m) => total + (m.stats ? of(m.stats) : 0), 0);
  const most = (of) => Math.max(0, ...here.map((m) => (m.stats ? of(m.stats) : 0)));
  const names = (list) => list.map((m) => m.name);
  const are = (list) => (list.length === 1 ? "is" : "are");
  const silent = names(here.filter((m) => !m.stats));
  const missing = names(cluster.missing);
  const leaving = names(here.filter((m) => m.state === "leaving"));
  const left = names(nodes.filter((m) => m.state === "left"));
  const cold = sum((s) => s.partitions.cold);
  const due = sum((s) => s.copies_due);
  const rings = new Set(here.filter((m) => m.stats).map((m) => m.stats.fingerprint)).add(cluster.fingerprint);
  const frozen = names(cluster.missing.filter((m) => !m.ended));
  const put = (tone, text, ...asides) => ({ tone, text, aside: asides.filter(Boolean).join(" ") });
  const lack = missing.length > 0 && `${list(missing)} ${are(missing)} missing.`;
  const how = frozen.length > 0 && `${list(frozen)} ${frozen.length === 1 ? "does" : "do"} not answer: frozen, or cut off.`;
  const fewer = inRing < cluster.copies && `${plural(inRing, "node")} for ${cluster.copies} copies: another crash may lose sessions.`;

  if (cluster.sessions_lost_estimate > 0) return put("bad", `About ${plural(cluster.sessions_lost_estimate, "session")} lost`, lack, how, "No member has a copy of them. When this is known:", `holdfast forget ${cluster.lost_with.join(" ")}`);
  if (here.some((m) => m.stats?.split_suspected)) return put("bad", "Less than half of the cluster is here", "The network may be split.", lack);
  if (inRing === 0) return put("bad", "No node is in the ring", "Sessions are served again when the first one is ready.", lack);
  if (silent.length > 0) return put("bad", `${list(silent)} ${silent.length === 1 ? "does" : "do"} not answer`, lack);
  if (missing.length > 0 && fewer) return put("bad", `${list(missing)} ${are(missing)} missing`, how, fewer);
  if (rings.size > 1) return put("warn", "The members are agreeing on a new ring", lack, how);
  if (cold > 0) return put("warn", `${plural(cold, "partition")} being taken over`, lack, how);
  if (leaving.length > 0) return put("warn", `${list(leaving)} ${are(leaving)} leaving and ${leaving.length === 1 ? "hands" : "hand"} over what is there`, lack, how);
  if (due > 0) return put("warn", `${plural(due, "session")} waiting for a copy`, lack, how);
  if (missing.length > 0) return put("warn", `${list(missing)} ${are(missing)} missing, every session is in place`, how, `Start ${missing.length === 1 ? "it" : "them"} again, or: holdfast forget ${missing.join(" ")}`);
  if (inRing === 1 && (cluster.copies === 1 || most((s) => s.most_nodes) <= 1)) return put("warn", "One node, and no copies", "Its end loses all that it holds.");
  if (fewer) return put("warn", `${plural(inRing, "node")} for ${cluster.copies} copies`, "If it ends as well, sessions are lost.");
  const short = most((s) => s.memory_short_without_one_bytes);
  const hint = short > 0 && `If a node is lost, the others lack ${bytes(short)} for its copies.`;
  if (left.length > 0) return put("good", `${list(left)} ${left.length === 1 ? "has" : "have"} left, every session is in place`, hint);
  return put("good", "Every session is in place", hint);
}
