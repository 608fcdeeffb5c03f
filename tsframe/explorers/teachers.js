// Chapter teachers: what arrives at the leaves of a tree that hands states down.
import { teacher, latentTree, tree, generator, sampleStates, posterior } from "./engine.js";
import { number, percent, range, spread, places, words } from "./draw.js";

const RUNS = 20;

/** P(state of a region l edges below | top), along the first branch: one table a level. */
function path(t) {
  const h = t.hierarchy, m = t.states[h.depth], out = [];
  let region = 0, table = range(m).map((i) => range(m).map((j) => +(i === j)));
  for (let l = h.depth; l > 0; l--) {
    const edge = region * h.fan[l], [a, b] = [t.states[l], t.states[l - 1]], P = t.P[l];
    table = table.map((row) => range(b).map((k) => row.reduce((sum, p, i) => sum + p * P[(edge * a + i) * b + k], 0)));
    region = h.children[l][edge];
    out.push({ table, region, level: l - 1 });
  }
  return out;
}
/** The best guess of the top from each state, and how often it is right. */
function guess(table, prior) {
  const states = range(table[0].length), best = states.map((k) => range(prior.length).reduce((i, j) => (prior[j] * table[j][k] > prior[i] * table[i][k] ? j : i), 0));
  return { best, right: states.reduce((sum, k) => sum + prior[best[k]] * table[best[k]][k], 0) };
}

export const teachers = {
  pictures: [226, 226, 176],
  start(s, given) {
    const t = given ? teacher(given) : latentTree(tree(s.depth, s.branching), s.states, Math.max(s.polarity, -1 / (s.states - 1))), h = t.hierarchy, n = s.images;
    const prior = Array.from(t.prior[h.depth]), down = path(t).map((p) => ({ ...p, ...guess(p.table, prior) }));
    const random = generator(s.seed), z = sampleStates(t, n, random), top = z[h.depth], one = (l, r) => z[l][r * n];
    const share = (count, f) => spread(range(RUNS).map((k) => { let right = 0, N = 0; for (let i = k; i < n; i += RUNS) { right += f(i); N++; } return right / N; }));
    for (const d of down) { d.seen = share(n, (i) => +(d.best[z[d.level][d.region * n + i]] === top[i])); d.error = 2 * d.seen.sd / Math.sqrt(RUNS); }
    const post = posterior({ ...t, target: Float64Array.from({ length: prior.length ** 2 }, (_, i) => +(i % (prior.length + 1) === 0)), classes: prior.length }, z[0], n);
    const all = share(n, (i) => { let k = 0; for (let j = 1; j < prior.length; j++) if (post.target[i * prior.length + j] > post.target[i * prior.length + k]) k = j; return +(k === top[i]); });
    return { s, t, h, n, z, one, down, all, chance: Math.max(...prior), over: true, capped: !given && s.polarity < -1 / (s.states - 1) };
  },
  draw(run, [left, right, below]) {
    const { h, t, one, down, n, z } = run, at = places(h, { top: 16, bottom: 196 }), last = down.at(-1);
    left.clear(`One draw from a tree of depth ${h.depth}: ${words(h.regions[0], "leaf", "leaves")}, ${t.states[h.depth]} states in the top. Solid lines join a region to the parent that it repeats.`);
    for (let l = h.depth; l > 0; l--) h.children[l].forEach((b, e) => {
      const a = Math.floor(e / h.fan[l]), kept = one(l, a) === one(l - 1, b), [x1, y1] = at(l, a), [x2, y2] = at(l - 1, b);
      left.rule(x1, y1, x2, y2, kept ? "teacher" : "line", kept ? 1.6 : 1.1, kept ? null : "2 3");
    });
    for (let l = h.depth; l >= 0; l--) for (let r = 0; r < h.regions[l]; r++) {
      const m = t.states[l], [x, y] = at(l, r), room = 300 / h.regions[l], a = Math.min(11, Math.max(2.6, (room - 3) / m - 1)), step = a + 2;
      if (a < 4) left.square(x, y, Math.min(8, Math.max(2.6, room - 2)), one(l, r) > 0);
      else { left.add("rect", { x: x - m * step / 2 - 1, y: y - a / 2 - 2, width: m * step + 2, height: a + 4, style: "fill:var(--paper,#ffffff)" }); for (let k = 0; k < m; k++) left.square(x + (k - (m - 1) / 2) * step, y, a, one(l, r) === k); }
    }
    left.text(0, 222, "One draw: the filled square is the state", "quiet");
    right.clear(`How often one region tells the state of the top: theory ${number(last.right)} at the leaves, measured ${number(last.seen.mean)}; all leaves together ${number(run.all.mean)}.`);
    const edges = down.map((_, i) => i + 1), low = Math.floor(run.chance * 10) / 10 - 0.05;
    const c = right.chart({ x: [0, h.depth + 0.35], y: [Math.min(low, 0.45), 1.02], xticks: range(h.depth + 1), yticks: [0.25, 0.5, 0.75, 1].filter((v) => v >= Math.min(low, 0.45)), xlabel: "edges below the top", ylabel: "share of right guesses of the top’s state" });
    c.level(run.chance);
    c.label(h.depth + 0.35, run.chance, "chance", "quiet", "end", 0, 12);
    c.line([0, ...edges], [1, ...down.map((d) => d.right)], "theory");
    c.diamonds(edges, down.map((d) => d.seen.mean), down.map((d) => d.seen.mean - d.error), down.map((d) => d.seen.mean + d.error));
    c.bar(h.depth + 0.2, run.all.mean - 2 * run.all.sd / Math.sqrt(RUNS), run.all.mean + 2 * run.all.sd / Math.sqrt(RUNS), "measure");
    right.diamond(c.X(h.depth + 0.2), c.Y(run.all.mean), 3.4);
    c.label(h.depth + 0.2, run.all.mean, "all leaves", "measure", "end", -9, run.all.mean > 0.9 ? 14 : -8);
    const shown = range(Math.min(8, n)).sort((a, b) => z[h.depth][a] - z[h.depth][b]), R = h.regions[0], cell = Math.min(18, 270 / R, 20);
    below.clear(`${shown.length} inputs, one a row, the top's state in front of each.`);
    shown.forEach((i, row) => {
      below.text(14, 30 + row * 19, z[h.depth][i] + 1, "ink", "middle");
      for (let r = 0; r < R; r++) { const v = z[0][r * n + i], m = t.states[0]; below.add("rect", { x: 30 + r * cell, y: 17 + row * 19, width: Math.max(1.5, cell - 1.5), height: 15, style: "fill:var(--teacher,#2f62d9)", "fill-opacity": m > 1 ? v / (m - 1) : 1, stroke: "var(--teacher,#2f62d9)", "stroke-width": cell > 6 ? 1 : 0.5 }); }
    });
    below.text(0, 12, "Inputs, behind the state of the top", "quiet");
  },
  say(run) {
    const last = run.down.at(-1), h = run.h;
    return [`One leaf, ${words(h.depth, "edge")} below the top, tells its state in `, [percent(last.right, 1)], " of the cases by theory and in ", [`${percent(last.seen.mean, 1)} ± ${percent(last.error, 1)}`],
      ` of ${run.n.toLocaleString("en")} draws. All ${words(h.regions[0], "leaf", "leaves")} together: `, [percent(run.all.mean, 1)], ". Chance: ", [percent(run.chance)], ".",
      ...(run.capped ? [` With ${run.t.states[0]} states polarity cannot be below −1/${run.t.states[0] - 1}; that value is used.`] : [])];
  },
  results: (run) => ({ theory: run.down.map((d) => d.right), measured: run.down.map((d) => d.seen.mean), error: run.down.map((d) => d.error), all: run.all.mean }),
  python: (s, own) => `import tsframe as tsf
from tsframe import explorers

${own ? "# teacher: the one that you gave" : `h = tsf.Hierarchy.tree(${s.depth}, ${s.branching})
ρ = max(${s.polarity}, -1 / (${s.states} - 1))
teacher = tsf.Teacher.latent_tree(h, ${s.states}, polarity=ρ, seed=0)`}
z = explorers.Sampler(teacher, ${s.seed}, stream=0).states(${s.images})
same = (z[0][:, 0] == z[-1][:, 0]).double().mean().item()
print(same)            # how often the first leaf repeats the top`,
};
