// The members: state, share, sessions, operations, lag, copies below target, and
// under "holdfast dev" what can be done to them.

import * as api from "./api.js";
import { byId, bytes, count, el, millis, percent, rate, say } from "./dom.js";
import { named } from "./palette.js";
import { light } from "./ring.js";

const columns = ["Member", "State", "Share of the ring", "Sessions", "Ops/s", "Lag", "Below target"];
const rowsByName = new Map();
let body = null;

function build() {
  const heads = columns.map((name, i) => el("th", { scope: "col", role: "columnheader", class: i > 2 ? "number" : "" }, name));
  body = el("tbody", { role: "rowgroup" });
  byId("members-table").replaceChildren(el("table", { class: "members", role: "table", "aria-labelledby": "members-title" },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...heads)), body));
}

// draw updates rows in place, so that a button keeps the focus while the
// figures beside it change.
export function draw(members, dev) {
  if (members.length === 0) return;
  if (body === null) build();
  const most = Math.max(...members.map((m) => m.share), 0);
  for (const [name, row] of rowsByName) {
    if (!members.some((m) => m.name === name)) {
      row.main.remove();
      row.actions.remove();
      rowsByName.delete(name);
    }
  }
  for (const m of members) {
    const row = rowsByName.get(m.name) ?? add(m);
    body.append(...(row.main === body.lastChild || body.contains(row.main) ? [] : [row.main, row.actions]));
    update(row, m, most, dev);
  }
}

function add(m) {
  const cell = (i, ...content) => el("td", { role: "cell", class: i > 2 ? "number" : "", "data-label": columns[i] }, ...content);
  const state = el("span", { class: "state" });
  const bar = el("span", { class: "bar", "aria-hidden": "true" }, el("span"));
  const share = el("span", { class: "share-text" });
  const numbers = [3, 4, 5, 6].map((i) => cell(i));
  const note = el("span", { class: "note" });
  const main = el("tr", { role: "row" },
    el("th", { scope: "row", role: "rowheader" }, named(m.name), note),
    cell(1, state), cell(2, el("span", { class: "portion" }, bar, share)), ...numbers);
  const buttons = el("td", { role: "cell", colspan: columns.length });
  const actions = el("tr", { role: "row", class: "actions" }, buttons);
  if (m.role === "node") {
    for (const row of [main, actions]) {
      row.addEventListener("pointerenter", () => light(m.name));
      row.addEventListener("pointerleave", () => light(null));
    }
  }
  const row = { main, actions, buttons, state, bar, share, numbers, note, shown: "" };
  rowsByName.set(m.name, row);
  return row;
}

function update(row, m, most, dev) {
  row.main.classList.toggle("absent", m.absent);
  row.main.classList.toggle("routing", m.role === "router");
  say(row.state, m.condition);
  row.state.className = `state ${m.tone}`;
  row.state.title = m.why ?? "";
  say(row.note, m.self ? "this page" : m.role === "router" ? "router" : "");
  row.bar.firstChild.style.width = `${most > 0 ? (100 * m.share) / most : 0}%`;
  row.bar.className = `bar ${m.tint}`;
  say(row.share, m.share > 0 ? percent(m.share) : m.role === "router" ? "holds nothing" : "none");
  const s = m.role === "node" ? m.stats : null;
  const texts = s ? [count(s.sessions), m.rate === null ? "–" : rate(m.rate), millis(s.lag_ms), count(s.below_target)] : ["–", "–", "–", "–"];
  row.numbers.forEach((cell, i) => say(cell, texts[i]));
  row.numbers[0].title = s ? bytes(s.bytes) : "";
  row.numbers[3].classList.toggle("attention", s !== null && s !== undefined && s.below_target > 0);
  drawActions(row, m, dev);
}

const verbs = {
  kill: { label: "Kill -9", about: (n) => `Kill ${n} at once, as a crash would`, done: (n) => `${n} was killed.` },
  pause: { label: "Pause", about: (n) => `Freeze ${n}`, done: (n) => `${n} is frozen.` },
  resume: { label: "Resume", about: (n) => `Let ${n} go on`, done: (n) => `${n} goes on.` },
  drain: { label: "Drain", about: (n) => `Let ${n} hand its sessions over and leave`, done: (n) => `${n} hands its sessions over and leaves.` },
  start: { label: "Start", about: (n) => `Start ${n} with an empty memory`, done: (n) => `${n} starts, its memory empty.` },
};

function possible(m, dev) {
  if (!dev || m.role !== "node") return [];
  switch (m.process) {
    case "stopped": return ["start"];
    case "paused": return ["resume", "kill"];
    case undefined: return [];
    default: return ["kill", "pause", "drain"];
  }
}

function drawActions(row, m, dev) {
  const offered = possible(m, dev);
  row.actions.hidden = offered.length === 0;
  if (row.shown === offered.join()) return;
  row.shown = offered.join();
  const had = row.buttons.contains(document.activeElement);
  row.buttons.replaceChildren(...offered.map((verb) => el("button", {
    type: "button", class: `act ${verb}`, "data-verb": verb, "data-node": m.name, "aria-label": verbs[verb].about(m.name), title: verbs[verb].about(m.name),
    onclick: (e) => give(e.currentTarget, verb, m.name),
  }, verbs[verb].label)));
  if (had) row.buttons.querySelector("button")?.focus();
}

async function give(button, verb, name) {
  const toast = byId("toast");
  button.setAttribute("aria-busy", "true");
  try {
    await api.order(verb, name);
    toast.className = "toast";
    toast.textContent = verbs[verb].done(name);
  } catch (error) {
    toast.className = "toast bad";
    toast.textContent = error instanceof api.AdminError ? error.message : `${name}: this member did not answer.`;
  } finally {
    button.removeAttribute("aria-busy");
    window.dispatchEvent(new Event("holdfast:look")); // see at once what came of it
  }
}
