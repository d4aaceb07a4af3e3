// The ring: 1,024 partitions as cells of a band, in the order of their slots
// from the top, clockwise, four to a column; and inside it the share of each
// node. A change of the ring recolours the cells that have moved, in a sweep.

import { byId, count, el, list, percent, plural, say, svg, timeOfDay } from "./dom.js";
import { lookOf, named } from "./palette.js";
import { partitions, perPartition, slots } from "./slot.js";

const rows = 4;
const columns = partitions / rows;
const inner = 190; // radius of the band's inner edge
const height = 23; // of a cell
const gap = 1.6;
const outer = inner + rows * (height + gap);
const sweep = 500; // ms from the first column's change to the last's
const shownFor = 8000; // ms that moved cells stay marked

const cells = [];
let band, shares, centre, marker;
let owners = []; // as drawn
let ring = null; // the newest answer
let calm = null; // timer that ends the marking of moved cells
let resting = ""; // the caption when no cell is pointed at
let lit = null; // the node whose cells stand out

export function build() {
  band = svg("g", { class: "band" });
  for (let p = 0; p < partitions; p++) {
    cells.push(svg("path", { class: "cell tint-none", d: cellPath(p, "full"), "data-p": p }));
  }
  band.append(...cells);
  shares = svg("g", { class: "shares" });
  centre = svg("g", { class: "centre", "text-anchor": "middle" });
  marker = svg("g", { class: "marker", visibility: "hidden" });
  const picture = svg("svg", { id: "ring-picture", viewBox: "-325 -325 650 650", role: "img", "aria-label": "The ring, not known yet" },
    scale(), band, shares, centre, marker);
  picture.addEventListener("pointermove", point);
  picture.addEventListener("pointerleave", () => say(byId("ring-caption"), resting));
  byId("ring").append(picture);
  resting = byId("ring-caption").textContent;
  byId("ring-table").addEventListener("toggle", drawTable);
}

const angle = (p) => (2 * Math.PI * Math.floor(p / rows)) / columns - Math.PI / 2;

function polar(radius, a) {
  return `${(radius * Math.cos(a)).toFixed(2)} ${(radius * Math.sin(a)).toFixed(2)}`;
}

function cellPath(p, shape) {
  const step = (2 * Math.PI) / columns;
  const from = angle(p) + 0.07 * step;
  const to = angle(p) + 0.93 * step;
  const low = inner + (p % rows) * (height + gap);
  const high = low + (shape === "half" ? height / 2 : height);
  return `M${polar(low, from)}L${polar(high, from)}A${high} ${high} 0 0 1 ${polar(high, to)}L${polar(low, to)}A${low} ${low} 0 0 0 ${polar(low, from)}Z`;
}

// scale names the slots at the quarters.
function scale() {
  const g = svg("g", { class: "scale", "aria-hidden": "true" });
  [0, 1, 2, 3].forEach((quarter) => {
    const a = (quarter * Math.PI) / 2 - Math.PI / 2;
    const [x, y] = polar(outer + 18, a).split(" ");
    g.append(svg("path", { d: `M${polar(outer + 3, a)}L${polar(outer + 8, a)}` }),
      svg("text", { x, y: Number(y) + 4, "text-anchor": "middle", ...(quarter % 2 ? { transform: `rotate(${quarter === 1 ? 90 : -90} ${x} ${y})` } : {}) },
        quarter === 0 ? "slot 0" : count((quarter * slots) / 4)));
  });
  return g;
}

// draw shows a new ring.
export function draw(answer, self) {
  ring = answer;
  const next = answer.partitions.map((p) => p.owner);
  const first = owners.length === 0;
  const moves = new Map(); // "from to" → how many
  cells.forEach((cell, p) => {
    const owner = next[p] ?? "";
    if (owners[p] === owner) return;
    const look = lookOf(owner);
    cell.setAttribute("class", `cell ${look.tint} ${look.shape}${first ? "" : " moved"}`);
    cell.setAttribute("d", cellPath(p, look.shape));
    cell.style.transitionDelay = cell.style.animationDelay = first ? "0ms" : `${Math.round((sweep * Math.floor(p / rows)) / columns)}ms`;
    if (!first) moves.set(`${owners[p] ?? ""}\n${owner}`, (moves.get(`${owners[p] ?? ""}\n${owner}`) ?? 0) + 1);
  });
  owners = cells.map((_, p) => next[p] ?? "");
  light(lit);
  say(byId("ring-print"), next.length > 0 ? answer.fingerprint : "");
  drawShares(answer);
  drawTable();
  resting = next.length === 0
    ? "No node owns anything. The ring fills when the first node is ready."
    : "Each cell is one of 1,024 partitions, coloured by the node that owns it.";
  if (moves.size > 0) tellMoves(moves);
  else say(byId("ring-caption"), resting);
  byId("ring-picture").setAttribute("aria-label", describe(answer));
}

function tellMoves(moves) {
  const parts = [...moves].sort((a, b) => b[1] - a[1]).slice(0, 4).map(([way, n]) => {
    const [from, to] = way.split("\n");
    if (from === "") return `${count(n)} taken by ${to}`;
    return to === "" ? `${count(n)} of ${from} left without an owner` : `${count(n)} from ${from} to ${to}`;
  });
  const total = [...moves.values()].reduce((a, b) => a + b, 0);
  resting = unbroken(`${timeOfDay(new Date())}: ${plural(total, "partition")} changed, ${list(parts)}.`);
  say(byId("ring-caption"), resting);
  clearTimeout(calm);
  calm = setTimeout(() => cells.forEach((cell) => cell.classList.remove("moved")), shownFor);
}

// unbroken keeps a name with a hyphen on one line.
const unbroken = (text) => text.replaceAll("-", "\u2011");

const owning = (answer) => answer.members.filter((m) => m.partitions > 0);

function describe(answer) {
  const nodes = owning(answer);
  if (nodes.length === 0) return "The ring is empty: no node owns a partition";
  return `The ring: ${list(nodes.map((m) => `${m.name} owns ${count(m.partitions)} partitions, ${percent(m.share)}`))}`;
}

function drawShares(answer) {
  shares.replaceChildren();
  const nodes = owning(answer);
  const radius = inner - 17;
  let from = -Math.PI / 2;
  for (const m of nodes) {
    const to = from + 2 * Math.PI * m.share;
    const pad = nodes.length > 1 ? 0.012 : 0;
    const look = lookOf(m.name);
    if (nodes.length === 1) {
      shares.append(svg("circle", { class: `arc ${look.tint} ${look.shape}`, r: radius }));
    } else if (to - from > 2 * pad) {
      const large = to - from - 2 * pad > Math.PI ? 1 : 0;
      shares.append(svg("path", {
        class: `arc ${look.tint} ${look.shape}`, d: `M${polar(radius, from + pad)}A${radius} ${radius} 0 ${large} 1 ${polar(radius, to - pad)}`,
      }));
    }
    if (m.share > 0.11 && nodes.length > 1) {
      const [x, y] = polar(radius - 58, (from + to) / 2).split(" ").map(Number);
      shares.append(svg("text", { class: "who", x, y, "text-anchor": "middle" }, short(m.name)),
        svg("text", { class: "share", x, y, dy: "1.15em", "text-anchor": "middle" }, percent(m.share)));
    }
    from = to;
  }
  centre.replaceChildren(svg("text", { class: "big", y: 6 }, count(nodes.length)),
    svg("text", { class: "small", y: 8, dy: "1.3em" }, nodes.length === 1 ? "node" : "nodes"));
}

const short = (name) => (name.length > 12 ? `${name.slice(0, 11)}…` : name);

// light dims the cells of all nodes but one, or of none.
export function light(name) {
  lit = name;
  byId("ring-picture").classList.toggle("lighting", owners.includes(name));
  cells.forEach((cell, p) => cell.classList.toggle("lit", owners[p] === name));
}

// mark points at a partition, or at none.
export function mark(p) {
  marker.setAttribute("visibility", p === null ? "hidden" : "visible");
  if (p === null) return;
  const a = angle(p) + Math.PI / columns;
  const row = inner + (p % rows) * (height + gap);
  const turn = (a * 180) / Math.PI;
  marker.replaceChildren(
    svg("path", { class: "needle", d: `M${polar(inner - 30, a)}L${polar(outer + 10, a)}` }),
    svg("rect", { class: "frame", x: row - 2, y: -5, width: height + 4, height: 10, rx: 2, transform: `rotate(${turn})` }),
    svg("path", { class: "tip", d: `M${outer + 4} 0l13 -7v14z`, transform: `rotate(${turn})` }));
}

function about(p) {
  const { owner, successors } = ring.partitions[p];
  const first = p * perPartition;
  return `Partition ${p}, slots ${count(first)} to ${count(first + perPartition - 1)}: ${owner}${successors.length ? `, then ${list(successors)}` : ""}.`;
}

function point(e) {
  const p = e.target.dataset?.p;
  if (p !== undefined && ring?.partitions[p]) byId("ring-caption").textContent = about(p);
  else say(byId("ring-caption"), resting);
}

// drawTable is the ring for those who do not see it, made when it is opened.
function drawTable() {
  const details = byId("ring-table");
  const place = details.querySelector(".scroll");
  if (!details.open || !ring) return;
  const body = el("tbody");
  for (const p of ring.partitions) {
    body.append(el("tr", {}, el("th", { scope: "row" }, String(p.id)), el("td", {}, `${p.id * perPartition}–${(p.id + 1) * perPartition - 1}`),
      el("td", {}, named(p.owner)), el("td", {}, p.successors.join(", ") || "none")));
  }
  const heads = ["Partition", "Slots", "Owner", "Successors"].map((name) => el("th", { scope: "col" }, name));
  place.replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, ...heads)), body));
}
