// Chapter specialization: which student node becomes which teacher node, along training.
import { tree, student, generator, expansion, descend, expand, rows, correlation } from "./engine.js";
import { ink, number, percent, range, words } from "./draw.js";

const ENTRIES = [-0.5, -0.25, 0, 0.25, 0.5], INPUTS = 20, OUTPUTS = 50, BIAS = -0.1, INIT = 0.005, STD = 1.5, RATE = 0.05, BATCH = 16, FRESH = 300, FOUND = 0.95, RECORDS = 24, SHOWN = 48;

/** Teacher and student as networks on a line, weights (inputs, nodes) and (nodes, outputs). */
function pair(s) {
  const h = tree(2, 1), m = s.nodes, n = m * s.times, g = generator(s.seed, 400), pick = () => ENTRIES[Math.floor(g.uniform() * ENTRIES.length)];
  const w = range(m).map(() => { const row = range(INPUTS).map(pick), size = Math.hypot(...row); return row.map((x) => x / size); });
  const v = range(m).map((j) => range(OUTPUTS).map(() => pick() / (j + 1) ** s.decay)), strength = v.map((x) => Math.hypot(...x));
  const order = range(m).sort((a, b) => strength[b] - strength[a]), W = order.map((j) => w[j]);          // strong to weak
  const teacher = student(h, [INPUTS, m, OUTPUTS], { W: [null, range(INPUTS).map((i) => W.map((row) => row[i])), order.map((j) => v[j])], b: [null, Array(m).fill(BIAS), Array(OUTPUTS).fill(0)] });
  const r = generator(s.seed, 401), draw = (k) => Float64Array.from({ length: k }, () => INIT * r.normal());
  const net = student(h, [INPUTS, n, OUTPUTS], { W: [null, draw(INPUTS * n), draw(n * OUTPUTS)], bias: true });
  return { h, teacher, net, m, n, strength: order.map((j) => strength[j]) };
}
/** Steps that a lone node of this strength needs to half of it: the logistic curve of the chapter. */
const lone = (s) => Math.log(s / INIT ** 2 - 1) / (RATE * STD ** 2 * s);
/** Pairs by falling correlation, each node once; then the other students beside the teacher node that they match best. */
function sorted(rho, m, n) {
  const best = range(n).map((k) => range(m).reduce((a, j) => (rho[j * n + k] > rho[a * n + k] ? j : a), 0)), taken = Array(m).fill(-1), used = new Set();
  for (const x of range(m * n).sort((a, b) => rho[b] - rho[a])) {
    const [j, k] = [Math.floor(x / n), x % n];
    if (taken[j] < 0 && !used.has(k)) { taken[j] = k; used.add(k); }
  }
  const rest = range(n).filter((k) => !used.has(k)).sort((a, b) => rho[best[b] * n + b] - rho[best[a] * n + a]).slice(0, SHOWN - m);
  return [...taken, ...rest.sort((a, b) => best[a] - best[b] || rho[best[b] * n + b] - rho[best[a] * n + a])];
}

export const nodes = {
  pictures: [262, 262],
  start(s) {
    const p = pair(s), { h, teacher, net } = p, inputs = generator(s.seed, 100), g = generator(s.seed, 101);
    const made = (k) => rows(h, new Float64Array(k * INPUTS), new Float64Array(k * OUTPUTS), k), batch = made(BATCH), fresh = made(FRESH);
    for (let i = 0; i < fresh.features.length; i++) fresh.features[i] = STD * g.normal();
    return { s, ...p, inputs, batch, fresh, answer: expansion(teacher, batch), space: expansion(net, batch), wide: expansion(net, fresh), its: expand(teacher, fresh).F[1], every: s.steps / RECORDS, step: 0, rho: null, at: [], best: [], found: Array(p.m).fill(null), loss: [], over: false };
  },
  step(run) {
    const { s, m, n, net, batch, teacher } = run;
    if (run.step % run.every === 0) {
      run.rho = correlation(run.its, expand(net, run.fresh, "mean", run.wide).F[1], FRESH, m, n);
      const best = range(m).map((j) => Math.max(...run.rho.subarray(j * n, (j + 1) * n)));
      best.forEach((v, j) => { if (v > FOUND) run.found[j] ??= run.step; });
      run.at.push(run.step);
      run.best.push(best);
    }
    for (let i = 0; i < batch.features.length; i++) batch.features[i] = STD * run.inputs.normal();
    batch.target.set(expand(teacher, batch, "mean", run.answer).F[2]);
    run.loss.push(descend(net, batch, RATE, run.space));
    run.lost = !(run.loss.at(-1) < 1e6);
    return ++run.step <= s.steps && !run.lost;
  },
  draw(run, [left, right]) {
    const { s, m, n, rho, found, best, every, strength } = run, [top, bottom, x0, x1] = [24, 216, 32, 308], height = (bottom - top) / m, mid = (j) => top + (j + 0.5) * height;
    const cols = rho ? sorted(rho, m, n) : [], cell = Math.min(height, (x1 - x0) / Math.min(n, SHOWN)), hits = best.length ? best.at(-1).filter((v) => v > FOUND).length : 0, done = words(Math.max(0, run.step - 1), "step");
    const frame = (p, width) => {
      range(m).filter((j) => height > 11 || j % 2 === 0).forEach((j) => p.text(x0 - 5, mid(j) + 4, number(strength[j], strength[j] < 0.095 ? 2 : 1), "teacher", "end", { class: "small" }));
      p.add("rect", { x: x0, y: top, width, height: bottom - top, fill: "none", stroke: ink("line"), "stroke-width": 0.8 });
    };
    left.clear(`Correlation of ${m} teacher nodes, strong to weak, with ${n} student nodes, matches first, after ${done}. ${hits} teacher nodes have a student above ${FOUND}.`);
    left.text(0, 13, "strength of teacher node", "teacher");
    left.shade(range(m).map((j) => cols.map((k) => Math.sign(rho[j * n + k]) * Math.max(0, 2 * Math.abs(rho[j * n + k]) - 1))), x0, top, cell, height);
    frame(left, cell * cols.length);
    left.text(x0, bottom + 17, n > SHOWN ? `student nodes: matches, then ${SHOWN - m} of the other ${n - m}` : n > m ? "student nodes: matches, then others" : "student nodes, matched", "student");
    left.text(x0, bottom + 34, "shade: correlation, from 0.5 to 1", "quiet");
    right.clear(`Best correlation of every teacher node over ${s.steps} steps. Found so far, strong to weak: ${found.map((t) => (t === null ? "no" : `step ${t}`)).join(", ")}.`);
    const width = (x1 - x0) / (RECORDS + 1), X = (t) => x0 + (t / every + 0.5) * width;
    right.text(0, 13, "best correlation of each, by step", "quiet");
    right.shade(range(m).map((j) => best.map((b) => Math.max(0, 2 * b[j] - 1))), x0, top, width, height);
    frame(right, x1 - x0);
    const line = strength.map((v, j) => [X(lone(v)), mid(j)]).filter(([x], j) => strength[j] > 2 * INIT ** 2 && x < x1);
    right.path(line, "paper", { width: 5 });
    right.path(line, "theory", { width: 2.2 });
    found.forEach((t, j) => { if (t !== null) right.diamond(X(t), mid(j), Math.min(4.6, height / 2.4)); });
    for (const t of [0, s.steps / 2, s.steps]) right.text(X(t), bottom + 17, String(t), "ink", "middle");
    right.text(x0, bottom + 34, `◇ above ${FOUND}`, "measure");
    right.text(x1, bottom + 34, "line: a lone node, by theory", "theory", "end");
  },
  say(run) {
    const { best, found, strength, m } = run;
    if (!best.length) return ["Training begins."];
    if (run.lost) return ["At step ", [String(run.step)], " the loss grew beyond all bounds."];
    const now = best.at(-1), hits = now.filter((v) => v > FOUND).length, when = (j) => (found[j] === null ? "not yet" : `at step ${found[j]}`), loss = run.loss.at(-1) / run.loss[0];
    return ["After ", [words(run.step - 1, "step")], " the student has found ", [String(hits)], ` of ${m} teacher nodes; the strongest (${number(strength[0], 2)}) `, [when(0)], ` (a lone node, by theory: ${Math.round(lone(strength[0]))}), the weakest (${number(strength[m - 1], 2)}) `, [when(m - 1)],
      ` (${Math.round(lone(strength[m - 1]))}). The loss of a batch is `, [percent(loss, loss < 0.1 ? 1 : 0)], " of what it was."];
  },
  results: (run) => ({ at: run.at, best: run.best, found: run.found, strength: run.strength, lone: run.strength.map(lone), loss: run.loss }),
  python: (s) => `import tsframe as tsf
from tsframe import explorers

teacher, student = explorers.dense_pair(
    ${s.seed}, nodes=${s.nodes}, times=${s.times}, decay=${s.decay})
fresh = explorers.Inputs(${INPUTS}, ${s.seed}, 101, std=${STD})(${FRESH})

def best(step, net):
    ρ = tsf.layer_correlations(net, teacher, fresh)[1]
    return tsf.best_match(ρ).value

history = tsf.train_dense(
    student, teacher, explorers.Inputs(${INPUTS}, ${s.seed}, std=${STD}),
    steps=${s.steps}, lr=${RATE}, batch=${BATCH}, every=${s.steps / RECORDS}, keep=best, seed=0)
print(history.kept[-1].tolist())    # strong to weak`,
};
