// Chapter nonlinearity: states as points in a triangle, their corners, and what a single ReLU node can tell apart.
import { generator } from "./engine.js";
import { number, range } from "./draw.js";

const CHAPTER = [[82, 9, 9], [9, 82, 9], [7, 15, 78], [50, 48, 2], [52, 4, 44], [36, 33, 31]].map((p) => p.map((x) => x / 100));
const STARTS = 6, STEPS = 1500, PULLS = 26, RATE = 0.25;          // of the nodes that are trained for the moving state

function random(seed) {                                           // six rows, drawn evenly from the triangle; the last one from its middle
  const g = generator(seed);
  return range(6).map((i) => { const e = range(3).map(() => -Math.log(g.uniform()) + (i === 5 ? 2 : 0)), sum = e[0] + e[1] + e[2]; const [a, b] = e.map((x) => Math.round(1e4 * x / sum)); return [a, b, 1e4 - a - b].map((x) => x / 1e4); });
}
const mixed = (p, corner, t) => p.map((x, k) => (1 - t) * x + t * +(k === corner));
const flat = (p) => [p[1] + p[2] / 2, p[2] * Math.sqrt(3) / 2];
const cross = (o, a, b) => (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0]);
function polygon(points) {                                        // corners of the hull of [x, y, index], counter-clockwise
  const sorted = [...points].sort((a, b) => a[0] - b[0] || a[1] - b[1]), half = (list) => {
    const out = [];
    for (const p of list) { while (out.length > 1 && cross(out.at(-2), out.at(-1), p) <= 1e-12) out.pop(); out.push(p); }
    return out.slice(0, -1);
  };
  return sorted.length < 3 ? sorted : [...half(sorted), ...half(sorted.reverse())];
}
/** How far row i lies outside the hull of the others: the sum of absolute differences, and the nearest point in the plane. */
function cut(P, i) {
  const a = P[i], at = flat(a), hull = polygon(P.map((p, k) => [...flat(p), k]).filter((p) => p[2] !== i)), edges = hull.map((p, k) => [p, hull[(k + 1) % hull.length]]);
  if (edges.length > 2 && edges.every(([p, q]) => cross(p, q, at) >= -1e-12)) return { margin: 0, near: null };
  let margin = Infinity, near = null, least = Infinity;
  for (const [p, q] of edges) {
    const [u, v] = [P[p[2]], P[q[2]]], d = u.map((x, k) => v[k] - x);
    for (const t of [0, 1, ...range(3).map((k) => (a[k] - u[k]) / d[k])]) if (t >= 0 && t <= 1) margin = Math.min(margin, u.reduce((sum, x, k) => sum + Math.abs(x + t * d[k] - a[k]), 0));
    const w = [q[0] - p[0], q[1] - p[1]], s = Math.max(0, Math.min(1, ((at[0] - p[0]) * w[0] + (at[1] - p[1]) * w[1]) / (w[0] ** 2 + w[1] ** 2 || 1)));
    const c = [p[0] + s * w[0], p[1] + s * w[1]], gap = Math.hypot(c[0] - at[0], c[1] - at[1]);
    if (gap < least) [least, near] = [gap, c];
  }
  return { margin: margin < 1e-9 ? 0 : margin, near };
}
/** The largest miss of the best of a few nodes trained by gradient descent to answer 1 in state i and 0 elsewhere. */
function trained(P, i, seed) {
  let best = Infinity, miss = 1;
  for (let k = 0; k < STARTS; k++) {
    const g = generator(seed, 10 + k), w = [g.normal(), g.normal(), g.normal()];     // a bias is in the weights: rows sum to 1
    let loss = 0, worst = 0;
    for (let step = 0; step <= STEPS; step++) {
      const d = [0, 0, 0];
      loss = worst = 0;
      for (let r = 0; r < P.length; r++) {
        const p = P[r], h = p[0] * w[0] + p[1] * w[1] + p[2] * w[2], e = +(r === i) - Math.max(0, h);
        loss += e * e;
        worst = Math.max(worst, Math.abs(e));
        if (h > 0) { d[0] += e * p[0]; d[1] += e * p[1]; d[2] += e * p[2]; }
      }
      for (let c = 0; c < 3; c++) w[c] += RATE * d[c];
    }
    if (loss < best) [best, miss] = [loss, worst];
  }
  return miss;
}

export const hull = {
  pictures: [250, 250],
  paced: false,
  start(s, given) {
    const fixed = given ?? (s.seed ? random(s.seed) : CHAPTER), last = fixed.length - 1, at = (t) => [...fixed.slice(0, last), mixed(fixed[last], s.corner - 1, t)];
    const P = at(s.pull), state = Math.min(s.state, fixed.length) - 1;
    return { s, P, at, last, state, cuts: P.map((_, i) => cut(P, i)), pulls: range(PULLS).map((k) => k / (PULLS - 1)), theory: [], miss: [], here: null, over: false };
  },
  step(run) {
    const k = run.miss.length;
    if (k === PULLS) { run.here = trained(run.P, run.state, run.s.seed); return false; }
    const Q = run.at(run.pulls[k]);
    run.theory.push(cut(Q, run.last).margin > 0 ? 0 : 0.5);
    run.miss.push(trained(Q, run.last, run.s.seed));
    return true;
  },
  draw(run, [left, right]) {
    const { P, cuts, state, s } = run, place = (p) => { const [x, y] = Array.isArray(p) && p.length === 3 ? flat(p) : p; return [30 + 260 * x, 226 - 235 * y]; };
    const corners = range(P.length).filter((i) => cuts[i].margin > 0), names = P.map((_, i) => i + 1);
    left.clear(`${P.length} states as points in a triangle; ${corners.length} of them are corners of their hull. State ${state + 1} ${cuts[state].margin > 0 ? "can" : "cannot"} be cut off from all others by a straight line.`);
    left.path([[1, 0, 0], [0, 1, 0], [0, 0, 1]].map(place), "line", { width: 1, close: true });
    const outline = polygon(P.map((p, k) => [...flat(p), k])).map((p) => place([p[0], p[1]]));
    left.path(outline, "none", { fill: "var(--teacher,#2f62d9)", opacity: 0.13, close: true });
    const { near } = cuts[state];
    if (near) {                                                   // the line half way between the state and the hull of the others, inside the triangle
      const a = flat(P[state]), m = [(a[0] + near[0]) / 2, (a[1] + near[1]) / 2], d = [a[0] - near[0], a[1] - near[1]], ends = [];
      const T = [[0, 0], [1, 0], [0.5, Math.sqrt(3) / 2]], side = (p) => (p[0] - m[0]) * d[0] + (p[1] - m[1]) * d[1];
      T.forEach((p, k) => { const q = T[(k + 1) % 3], [u, v] = [side(p), side(q)]; if (u * v < 0) ends.push([p[0] + u / (u - v) * (q[0] - p[0]), p[1] + u / (u - v) * (q[1] - p[1])]); });
      left.path(ends.map(place), "theory", { width: 2.2 });
    }
    const centre = [0, 1].map((k) => P.reduce((sum, p) => sum + place(p)[k], 0) / P.length);
    P.forEach((p, i) => {
      const [x, y] = place(p), dx = Math.sign(x - centre[0]) * 12;
      if (i === state) left.add("circle", { cx: x, cy: y, r: 11, fill: "none", stroke: "var(--ink,#1d2025)", "stroke-width": 1.2 });
      if (cuts[i].margin > 0) left.square(x, y, 9); else left.cross(x, y, 4.5);
      left.text(Math.max(6, Math.min(314, x + 1.25 * dx)), Math.max(14, y + (y > centre[1] ? 16 : -9)), names[i], i === state ? "ink" : "quiet", "middle", { class: "halo" });
    });
    right.clear(`Least possible miss of a node for state ${run.last + 1}: one half inside the hull of the others, 0 outside. Trained nodes: ${run.here === null ? "in progress" : number(run.miss.at(-1))} at the corner.`);
    const c = right.chart({ x: [0, 1], y: [-0.06, 1], xticks: [0, 0.5, 1], yticks: [0, 0.5, 1], xlabel: `how far state ${run.last + 1} is pulled to corner ${s.corner}`, ylabel: `largest miss of a node for state ${run.last + 1}` });
    c.upright(s.pull);
    for (const v of [0.5, 0]) { const at = run.pulls.filter((_, k) => run.theory[k] === v); if (at.length) c.line([at[0], at.at(-1)], [v, v], "theory"); }
    c.diamonds(run.pulls.slice(0, run.miss.length), run.miss, null, null, "measure", 3.6);
    c.label(0.02, 0.5, "the least there is", "theory", "start", 0, 13);
    c.label(1, 1, "after training", "measure", "end", 0, 8);
  },
  say(run) {
    const { margin } = run.cuts[run.state], corners = run.cuts.filter((c) => c.margin > 0).length, name = `State ${run.state + 1}`;
    return [[String(corners)], ` of ${run.P.length} states are corners. `, ...(margin > 0 ? [`${name} lies `, [number(margin)], " outside the hull of the others, so one node can answer to it alone, with weights of size ", [number(2 / margin, 1)], " and margins of 1. "]
      : [`${name} is a mixture of the others: whatever its weights, a node misses by at least `, ["½"], " somewhere. "]),
      ...(run.here === null ? [] : [`The best of ${STARTS} trained nodes misses by `, [number(run.here)], "."])];
  },
  results: (run) => ({ rows: run.P, margins: run.cuts.map((c) => c.margin), pulls: run.pulls, least: run.theory, trained: run.miss, here: run.here }),
  python(s, own) {
    const rows = s.seed ? random(s.seed) : CHAPTER;
    return `import torch
import tsframe as tsf

${own ? "P = torch.as_tensor(explorer.table).double()" : `P = torch.tensor([
${rows.map((p) => `    [${p.map((x) => x.toFixed(4)).join(", ")}],`).join("\n")}
], dtype=torch.float64)`}
corner = torch.eye(3, dtype=P.dtype)[${s.corner - 1}]
P[-1] = ${(1 - s.pull).toFixed(2)} * P[-1] + ${s.pull.toFixed(2)} * corner
print(tsf.margins(P).tolist())           # 0 for a row in the hull
print(tsf.vertices(P).sum().item(), "corners")`;
  },
};
