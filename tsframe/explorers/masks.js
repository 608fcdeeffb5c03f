// Chapter disentanglement: two independent parts in every region, and the weights that could cross between them.
import { teacher, pyramid, student, generator, expansion, descend, expand, backward } from "./engine.js";
import { ink, number, range, words } from "./draw.js";

const STATES = [[4, 3, 4, 3, 2], [3, 4, 3, 4, 3]], NODES = [[4, 4, 3, 4, 1], [3, 3, 4, 3, 1]], RATE = 0.1, POLARITY = 0.9;

function dirichlet(m, g) { const e = range(m).map(() => -Math.log(g.uniform())), sum = e.reduce((a, b) => a + b); return e.map((x) => 0.25 / m + 0.75 * x / sum); }
/** A child stands, with probability ρ, at the quantile of its parent; both keep their priors. */
function coupled(above, below, rho) {
  const ends = (p) => p.map(((sum) => (x) => [sum, (sum += x)])(0)), high = ends(below);
  return ends(above).map(([a, b], i) => high.map(([c, d], k) => (1 - rho) * below[k] + rho * Math.max(0, Math.min(b, d) - Math.max(a, c)) / above[i]));
}
/** One part: priors by region, and a target of mean 0 and variance 1. */
function part(h, states, g) {
  const prior = h.regions.map((R, l) => range(R).map(() => dirichlet(states[l], g))), top = prior.at(-1)[0];
  let y = range(states.at(-1)).map(() => g.normal());
  const mean = y.reduce((sum, v, i) => sum + top[i] * v, 0);
  y = y.map((v) => v - mean);
  const size = Math.sqrt(y.reduce((sum, v, i) => sum + top[i] * v * v, 0));
  return { prior, target: y.map((v) => v / size), table: (l, r, b) => coupled(prior[l][r], prior[l - 1][b], POLARITY) };
}
const outer = (p, q) => p.flatMap((a) => q.map((b) => a * b));
const kron = (A, B) => A.flatMap((a) => B.map((b) => outer(a, b)));

/** Both parts side by side, with one assumption dropped: every state a pair, the second part fastest. */
function product(h, [one, two], drop) {
  const prior = h.regions.map((R, l) => range(R).map((r) => outer(one.prior[l][r], two.prior[l][r])));
  const P = h.children.map((c, l) => c && range(h.regions[l]).map((r) => range(h.fan[l]).map((k) => {
    const b = c[r * h.fan[l] + k], table = kron(one.table(l, r, b), two.table(l, r, b));
    if (drop !== "A2: tables mixed") return table;
    const whole = coupled(prior[l][r], prior[l - 1][b], POLARITY);
    return table.map((row, i) => row.map((v, j) => 0.8 * v + 0.2 * whole[i][j]));
  })));
  const pairs = (l) => range(STATES[0][l]).flatMap((i) => range(STATES[1][l]).map((j) => [i, j])), hot = (i, m) => range(m).map((k) => +(k === i));
  const features = range(h.regions[0]).map(() => pairs(0).map(([i, j]) => { const f = [...hot(i, STATES[0][0]), ...hot(j, STATES[1][0])]; if (drop === "A4: a node sees both") f[0] *= f[STATES[0][0]]; return f; }));
  const L = h.depth, target = pairs(L).map(([i, j]) => [one.target[i] + (drop === "A5: a target of both" ? 0.3 * one.target[i] * two.target[j] : 0), two.target[j]]);
  return teacher({ hierarchy: h, prior, P, features, target, classes: 2 });
}

/** Subtract the mean of every feature of a leaf. */
function centre(t, h) {
  const m = t.states[0], n = t.features.length / t.prior[0].length;
  for (let r = 0; r < h.regions[0]; r++) for (let k = 0; k < n; k++) {
    const mean = range(m).reduce((sum, i) => sum + t.prior[0][r * m + i] * t.features[(r * m + i) * n + k], 0);
    for (let i = 0; i < m; i++) t.features[(r * m + i) * n + k] -= mean;
  }
}
/** The first update of a crossed weight by the theorem: the mean of what it carries times the mean of the signal at its end. */
function foretold(net, t, widths, mask) {
  const h = t.hierarchy, e = backward(expand(net, t), net, t);
  const mean = (x, l) => { const n = widths[l], m = t.states[l], out = new Float64Array(h.regions[l] * n); for (let i = 0; i < x.length; i++) out[Math.floor(i / (m * n)) * n + i % n] += t.prior[l][Math.floor(i / n)] * x[i]; return out; };
  let most = 0;
  for (let l = 1; l <= h.depth; l++) {
    const F = mean(e.F[l - 1], l - 1), G = mean(e.G[l], l), [k, n] = [widths[l - 1], widths[l]];
    mask[l].forEach((on, i) => { if (on) most = Math.max(most, Math.abs(F[h.children[l][Math.floor(i / (k * n))] * k + Math.floor(i / n) % k] * G[Math.floor(i / (h.fan[l] * k * n)) * n + i % n])); });
  }
  return RATE * most;
}

export const masks = {
  pictures: [262, 262],
  start(s) {
    const h = pyramid(5, 2, 1), parts = STATES.map((m, i) => part(h, m, generator(s.seed, 300 + i))), t = product(h, parts, s.drop);
    if (s.inputs === "centred") centre(t, h);
    const widths = h.regions.map((_, l) => NODES[0][l] + NODES[1][l]), g = generator(s.seed), net = student(h, widths, { random: g, norm: s.norm === "none" ? null : { place: s.norm, eps: s.eps, top: s.top === "centred" } });
    const crosses = (l, i) => { const n = widths[l], j = i % n, k = Math.floor(i / n) % widths[l - 1]; return (j < NODES[0][l]) !== (k < NODES[0][l - 1]); }, mask = net.W.map((w, l) => w && Uint8Array.from(w, (_, i) => +crosses(l, i)));
    const set = (f) => net.W.forEach((w, l) => { if (w) for (let i = 0; i < w.length; i++) if (mask[l][i]) w[i] = f(w[i]); });
    set((w) => w * s.cross);
    return { s, h, t, net, widths, mask, space: expansion(net, t), step: 0, loss: [], leak: [], own: 0, first: foretold(net, t, widths, mask), product: s.drop === "nothing" && s.cross === 0, over: false };
  },
  step(run) {
    const { s, net, mask } = run, largest = (on) => net.W.reduce((most, w, l) => { if (w) for (let i = 0; i < w.length; i++) if (mask[l][i] === on) most = Math.max(most, Math.abs(w[i])); return most; }, 0);
    run.leak.push(largest(1));
    run.own = largest(0);
    run.loss.push(descend(net, run.t, RATE, run.space));
    run.lost = !(run.loss.at(-1) < 1e6);
    return ++run.step <= s.steps && !run.lost;
  },
  draw(run, [left, right]) {
    const { s, h, net, widths, leak } = run, [k, n] = [widths[1], widths[2]], [R, S] = [h.regions[1], h.regions[2]], cell = 9.6, height = 8, x0 = 40, y0 = 22;
    const row = (j, r, l) => (j < NODES[0][l] ? j * h.regions[l] + r : NODES[0][l] * h.regions[l] + (j - NODES[0][l]) * h.regions[l] + r);
    left.clear(`Sizes of the weights from level 1 to level 2 after ${words(Math.max(0, run.step - 1), "step")}. Crossed weights up to ${number(leak.at(-1) ?? 0, 3)}, own weights up to ${number(run.own, 2)}.`);
    let top = 1e-12;
    for (const w of net.W[2]) top = Math.max(top, Math.abs(w));
    for (let e = 0; e < h.children[2].length; e++) for (let a = 0; a < k; a++) for (let b = 0; b < n; b++) {
      const o = Math.round(20 * Math.sqrt(Math.abs(net.W[2][(e * k + a) * n + b]) / top)) / 20;
      if (o > 0) left.add("rect", { x: x0 + row(b, Math.floor(e / h.fan[2]), 2) * cell, y: y0 + row(a, h.children[2][e], 1) * height, width: cell, height, style: `fill:${ink("active")}`, "fill-opacity": o });
    }
    const [mx, my] = [x0 + NODES[0][2] * S * cell, y0 + NODES[0][1] * R * height], [X, Y] = [x0 + n * S * cell, y0 + k * R * height];
    left.add("rect", { x: x0, y: y0, width: X - x0, height: Y - y0, fill: "none", stroke: ink("line"), "stroke-width": 1 });
    left.rule(mx, y0, mx, Y, "warn", 1.2);
    left.rule(x0, my, X, my, "warn", 1.2);
    left.text((x0 + mx) / 2, 14, "part 1", "quiet", "middle");
    left.text((mx + X) / 2, 14, "part 2", "quiet", "middle");
    [[(y0 + my) / 2, "1"], [(my + Y) / 2, "2"]].forEach(([y, t]) => left.text(32, y + 4, `part ${t}`, "quiet", "end"));
    left.text(X, 258, "from level 1 (rows) to 2", "quiet", "end");
    const lost = s.norm === "none" || (s.norm === "before" && s.top === "plain") || (s.norm === "after" && s.inputs === "as they are") || s.drop !== "nothing" || s.cross > 0;
    right.clear(`Largest crossed weight over ${s.steps} steps: ${number(leak.at(-1) ?? 0, 3)} at the end. ${lost ? "An assumption is dropped." : "All assumptions hold: theory says 0."}`);
    const c = right.chart({ x: [0, s.steps], y: [1e-18, 10], logy: true, xticks: [0, s.steps / 2, s.steps], yticks: [1e-18, 1e-12, 1e-6, 1], ynames: (v) => ({ 1: "1" }[v] ?? "10⁻" + { 6: "⁶", 12: "¹²", 18: "¹⁸" }[-Math.round(Math.log10(v))]), left: 48, xlabel: "step", ylabel: "largest crossed weight" });
    const at = range(leak.length).filter((i) => i % (s.steps / 20) === 0 || i === 1).filter((i) => i > 0 || s.cross > 0), ys = at.map((i) => Math.max(leak[i], 1e-18));
    if (lost) c.crosses(at, ys, null, null, 4); else c.diamonds(at, ys, null, null, "measure", 4.2);
    if (run.product && run.first > 1e-15) { c.line([0, s.steps * 0.12], [run.first, run.first], "theory"); c.label(s.steps * 0.14, run.first, "first step by theory", "theory", "start", 0, 18); }
    if (!lost) { c.line([0, s.steps], [1e-18, 1e-18], "theory"); c.label(s.steps, 1e-18, "theory: 0", "theory", "end", 0, -9); }
    c.label(s.steps, 10, lost ? "an assumption is dropped" : "all assumptions hold", lost ? "warn" : "measure", "end", 0, 4);
  },
  say(run) {
    if (!run.loss.length) return ["Training begins."];
    if (run.lost) return ["At step ", [String(run.step)], " the loss grew beyond all bounds."];
    return ["After ", [words(run.step - 1, "step")], " the largest crossed weight is ", [number(run.leak.at(-1), 3)], ", the largest of the others ", [number(run.own, 2)], `. The loss went from ${number(run.loss[0], 2)} to `, [number(run.loss.at(-1), 3)], "."];
  },
  results: (run) => ({ steps: range(run.loss.length), loss: run.loss.map((v) => [v]), leak: run.leak, first: run.first }),
  python: (s) => `import tsframe as tsf
from tsframe import explorers

teacher, student, blocks = explorers.two_parts(
    ${s.seed}, norm=${s.norm === "none" ? "None" : `tsf.BatchNorm("${s.norm}", eps=${s.eps}, top=${s.top === "centred" ? "True" : "False"})`},
    drop="${s.drop}", inputs="${s.inputs}", cross=${s.cross})
history = tsf.train(student, teacher, steps=${s.steps}, lr=${RATE})
print(tsf.leak(student.W, blocks).item())`,
};
