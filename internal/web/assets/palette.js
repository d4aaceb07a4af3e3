// Each node has a look of its own: one of eight colours that people with any
// kind of colour vision tell apart (after Okabe and Ito), and beyond eight nodes
// a shape besides. The colours themselves are in style.css, one set for light
// and one for dark.

import { el, natural, svg } from "./dom.js";

const colours = 8;
const shapes = ["full", "half", "hollow"];
const given = new Map();

// meet gives looks to nodes in order. A node keeps its look as long as the page
// is open, also when it is gone and others are new.
export function meet(names) {
  for (const name of [...names].sort(natural)) {
    if (!given.has(name)) given.set(name, given.size);
  }
}

// lookOf is the class and the shape of a node's cells.
export function lookOf(name) {
  const i = given.get(name);
  if (i === undefined) return { tint: "tint-none", shape: "full" };
  return { tint: `tint-${(i % colours) + 1}`, shape: shapes[Math.floor(i / colours) % shapes.length] };
}

// swatch is the key to the ring's colours beside a node's name.
export function swatch(name) {
  const { tint, shape } = lookOf(name);
  const place = shape === "half" ? { y: 7, height: 7 } : { y: 1, height: 13 };
  return svg("svg", { class: `swatch ${tint} ${shape}`, viewBox: "0 0 15 15", "aria-hidden": "true" },
    svg("rect", { class: "cell", x: 1, width: 13, rx: 2, ...place }));
}

// named is a name with its swatch. A router has none: it owns nothing.
export const named = (name) => el("span", { class: "named" }, given.has(name) ? swatch(name) : null, name);
