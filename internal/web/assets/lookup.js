// "Where is a user?": the way from what was typed to the node that serves it,
// and who holds which version. The key is shown to whoever typed it and goes
// nowhere but to the member that the page came from.

import * as api from "./api.js";
import { byId, count, el, timeOfDay } from "./dom.js";
import { named } from "./palette.js";
import { mark } from "./ring.js";
import { crc16, perPartition, slots, tagOf } from "./slot.js";

let key = "";
let shown = "";

export function build() {
  byId("lookup").addEventListener("submit", (e) => {
    e.preventDefault();
    key = byId("lookup-key").value;
    shown = "";
    refresh();
  });
  byId("lookup-key").addEventListener("input", (e) => {
    if (e.target.value === "") clear();
  });
}

function clear() {
  key = shown = "";
  byId("lookup-answer").replaceChildren();
  mark(null);
}

// refresh asks again, for owner and versions change while one looks.
export async function refresh() {
  if (key === "") return clear();
  const asked = key;
  let answer, refusal;
  try {
    answer = await api.key(asked);
  } catch (error) {
    if (!(error instanceof api.AdminError)) return; // the page says already that nobody answers
    refusal = error.message;
  }
  const text = JSON.stringify(answer ?? refusal);
  if (asked !== key || text === shown) return;
  shown = text;
  mark(answer ? answer.partition : null);
  byId("lookup-answer").replaceChildren(answer ? way(answer) : el("p", { class: "bad" }, refusal));
}

function step(name, value, why) {
  return el("li", {}, el("span", { class: "step" }, name), el("span", { class: "value" }, value), el("span", { class: "why" }, why));
}

function way(a) {
  const tag = tagOf(a.key);
  const crc = crc16(tag);
  const steps = el("ol", { class: "way" });
  if (tag !== a.key) steps.append(step("Tag", code(tag), "What stands in the braces alone decides, so all sessions with this tag share an owner."));
  steps.append(
    step("Slot", count(a.slot), `CRC-16 of ${tag === a.key ? "it" : "the tag"} is ${count(crc)}; modulo ${count(slots)}, as in Redis Cluster.`),
    step("Partition", String(a.partition), `Slot ÷ ${perPartition}. A partition moves as a whole.`));
  if (a.owner === "") {
    steps.append(step("Owner", "nobody", "No node is in the ring."));
    return el("div", {}, steps);
  }
  steps.append(step("Owner", named(a.owner), "Serves every request of this user from its own memory."));
  a.successors.forEach((name, i) => steps.append(step(i === 0 ? "Successor" : "Next", named(name),
    i === 0 ? `Holds a copy, and goes on if ${a.owner} dies: it would own the partition in a ring without ${a.owner}.` : "Holds a copy.")));
  return el("div", {}, steps, holders(a));
}

const code = (text) => el("code", {}, text);

function holders(a) {
  const states = { live: "live", deleted: "deleted", none: "nothing", silent: "no answer" };
  const newest = a.holders.find((h) => h.name === a.owner && h.hash)?.hash ?? a.holders.find((h) => h.hash)?.hash;
  if (!a.holders.some((h) => h.hash)) return el("p", { class: "aside" }, "No session has this id: no node holds anything of it.");
  const rows = a.holders.map((h) => el("tr", {},
    el("th", { scope: "row" }, named(h.name)), el("td", {}, states[h.state] ?? h.state),
    el("td", {}, h.version ? code(h.version) : "–", h.version ? el("span", { class: "why" }, ` ${timeOfDay(stamp(h.version))}`) : null),
    el("td", {}, h.hash ? (h.hash === newest ? "same" : "differs") : "–")));
  const heads = ["Node", "Holds", "Version", "Copy"].map((name) => el("th", { scope: "col" }, name));
  return el("div", { class: "scroll-x" }, el("table", { class: "holders" }, el("caption", {}, "Who holds which version"),
    el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows)));
}

// stamp is the time in a version: 48 bits of milliseconds before 16 of a counter.
const stamp = (version) => new Date(parseInt(version.slice(0, 12), 16));
