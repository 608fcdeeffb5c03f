// Chapter expansion: what the tables say of a student on a latent tree, what the network does, and where they part.
import { teacher, latentTree, tree, student, generator, expansion, descend, sample, enumerate, ladder, residuals } from "./engine.js";
import { number, words, range } from "./draw.js";

const MOST = 8192, DRAWN = 2000;                                  // joint states to list; else draws whose law is taken for the truth
const KINDS = { "activations F": "F", "signals G": "G", "updates ΔW": "dW" };
const norm = (x) => Math.hypot(...x);

/** The teacher's whole law where it is short, else a sample. */
function law(t, seed) {
  const joint = t.hierarchy.regions.reduce((p, R, l) => p * t.states[l] ** R, 1);
  if (joint <= MOST) return { rows: enumerate(t), all: true };
  const b = sample(t, DRAWN, generator(seed, 200));
  return { rows: ladder(t, b.z, b.y, new Float64Array(DRAWN).fill(1)), all: false };
}

export const parts = {
  pictures: [250, 250],
  start(s, given) {
    const t = given ? teacher(given) : latentTree(tree(2, s.branching), 2, s.polarity), h = t.hierarchy;
    const widths = [t.features.length / t.prior[0].length, ...Array(h.depth - 1).fill(s.width), t.classes];
    const net = student(h, widths, { random: generator(s.seed), activation: s.activation }), random = generator(s.seed, 100);
    let batch = null, space = null;
    for (let i = 0; i < s.steps; i++) { batch = sample(t, 32, random, batch); space ??= expansion(net, batch); descend(net, batch, 0.07, space); }
    const { rows, all } = law(t, s.seed), r = residuals(net, rows, s.gates === "measured" ? "true" : "mean"), kind = KINDS[s.table], level = Math.max(1, h.depth - s.below);
    const named = { ...r[kind][level] }, total = named.total;
    delete named.total;
    const a = r.tables.dW.slice(1).flatMap((x) => Array.from(x)), b = r.measured.dW.slice(1).flatMap((x) => Array.from(x)), dot = a.reduce((sum, x, i) => sum + x * b[i], 0);
    return { s, h, kind, level, r, all, N: rows.N, total: norm(total), size: norm(r.measured[kind][level]), named: Object.entries(named).map(([k, v]) => [k, norm(v)]),
      cosine: norm(a) * norm(b) ? dot / (norm(a) * norm(b)) : NaN, theory: Array.from(r.tables[kind][level]), truth: Array.from(r.measured[kind][level]), over: true };
  },
  draw(run, [left, right]) {
    const { theory, truth, named, total } = run, symbol = { F: "F", G: "G", dW: "ΔW" }[run.kind], all = [...theory, ...truth, 0], pad = 0.06 * (Math.max(...all) - Math.min(...all)) || 1;
    const ends = [Math.min(...all) - pad, Math.max(...all) + pad], ticks = [ends[0] + pad, 0, ends[1] - pad].filter((v, i) => i === 1 || Math.abs(v) > 0.25 * (ends[1] - ends[0]));
    left.clear(`Every entry of ${symbol} at level ${run.level}: the tables' value across, the network's upwards. On the line they agree; the norm of the difference is ${number(total)}.`);
    const digits = ends[1] - ends[0] > 1 ? 1 : ends[1] - ends[0] > 0.1 ? 2 : 3, c = left.chart({ x: ends, y: ends, xticks: ticks, yticks: ticks, xnames: (v) => number(v, digits), ynames: (v) => number(v, digits), xlabel: `${symbol} by the tables`, ylabel: `${symbol} of the real network, level ${run.level}`, left: 48 });
    c.line(ends, ends, "theory");
    const few = theory.length > 200 ? range(200).map((i) => Math.floor(i * theory.length / 200)) : range(theory.length);
    for (const i of few) left.diamond(c.X(theory[i]), c.Y(truth[i]), 3.4);
    const top = Math.max(1e-12, total, ...named.map((p) => p[1])), room = 250 - 70, step = room / (named.length + 1), X = (v) => 98 + v / top * 190;
    right.clear(`Parts of the error of ${symbol} at level ${run.level}: ${named.map(([k, v]) => `${k} ${number(v)}`).join(", ")}; total ${number(total)}.`);
    right.text(0, 13, "norm of each part of the error", "quiet");
    right.rule(98, 30, 98, 34 + room, "line", 1);
    named.forEach(([name, v], i) => {
      const y = 36 + step * (i + 0.5);
      right.text(92, y + 4.5, name, "ink", "end");
      right.add("rect", { x: 98, y: y - 8, width: Math.max(0.5, X(v) - 98), height: 16, style: "fill:var(--line,#868b94)" });
      right.text(Math.min(X(v) + 5, 286), y + 4.5, number(v), "ink", X(v) > 270 ? "end" : "start", X(v) > 270 ? { dx: -12, dy: 0, class: "halo" } : {});
    });
    const y = 36 + step * (named.length + 0.5);
    right.text(92, y + 4.5, "total", "measure", "end");
    right.diamond(X(total), y);
    right.text(X(total) + (X(total) > 250 ? -10 : 10), y + 4.5, number(total), "measure", X(total) > 250 ? "end" : "start");
    right.text(308, 246, "bars may cancel in the total", "quiet", "end");
  },
  say(run) {
    const largest = run.named.reduce((a, b) => (b[1] > a[1] ? b : a)), symbol = { F: "F", G: "G", dW: "ΔW" }[run.kind];
    return [`${symbol} of the tables misses the network’s by `, [number(run.total)], ` (its norm is ${number(run.size)}). `,
      ...(largest[1] > 1e-12 ? ["The largest part is ", [largest[0]], ` with ${number(largest[1])}. `] : ["Every part is rounding error: here the tables are exact. "]),
      ...(Number.isFinite(run.cosine) ? ["The cosine between both updates, all levels together, is ", [number(run.cosine)], ". "] : ["One of the updates is 0. "]),
      run.all ? `The truth is a sum over ${words(run.N, "joint state")}.` : `The truth is the law of ${words(run.N, "draw")}.`];
  },
  results: (run) => ({ parts: Object.fromEntries(run.named), total: run.total, norm: run.size, cosine: Number.isFinite(run.cosine) ? run.cosine : null, level: run.level, kind: run.kind }),
  python: (s, own) => `import tsframe as tsf
from tsframe import explorers

${own ? "h = teacher.hierarchy            # the teacher that you gave" : `h = tsf.Hierarchy.tree(2, ${s.branching})
teacher = tsf.Teacher.latent_tree(h, polarity=${s.polarity}, seed=0)`}
n, classes = teacher.features.shape[-1], teacher.target.shape[-1]
widths = [n] + [${s.width}] * (h.depth - 1) + [classes]
student = explorers.start(tsf.Student(
    h, widths, activation="${s.activation}", seed=0), ${s.seed})
${s.steps ? `draw = explorers.Sampler(teacher, ${s.seed})
tsf.train(student, draw, batch=32, seed=0, steps=${s.steps}, lr=0.07)
` : ""}ladder = tsf.Ladder.enumerate(teacher)     # for small trees
gates = ${s.gates === "measured" ? "tsf.measure(student, ladder).D" : '"mean"'}
parts = tsf.residuals(student, ladder, gates).${KINDS[s.table]}
for name, part in parts[max(1, h.depth - ${s.below})].items():
    print(f"{name:13} {part.norm():.6f}")`,
};
