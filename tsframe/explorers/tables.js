// Chapter dynamics: training on the teacher's tables, and the same students trained on samples.
import { teacher, latentTree, tree, student, copy, generator, expansion, descend, expand, sample, rows, posterior, sampleStates } from "./engine.js";
import { number, percent, range, spread, average, words, ceiling } from "./draw.js";

const MEMBERS = 6, TEST = 1000;

/** What a student is measured on: every input with its probability where there are few, else fresh ones. */
function examination(t, seed) {
  const h = t.hierarchy, m = t.states[0], R = h.regions[0], all = m ** R <= 1024, N = all ? m ** R : TEST;
  let z = new Int32Array(R * N);
  if (all) for (let i = 0; i < N; i++) for (let r = 0; r < R; r++) z[r * N + i] = Math.floor(i / m ** r) % m;
  else z = sampleStates(t, N, generator(seed, 200))[0];
  const own = Float64Array.from({ length: t.prior[0].length * m }, (_, i) => +(i % m === Math.floor(i / m) % m));      // states may look alike: each is weighed as itself
  const post = posterior(t, z, N), width = t.features.length / t.prior[0].length, inputs = new Float64Array(R * N * width);
  for (let r = 0; r < R; r++) for (let i = 0; i < N; i++) for (let k = 0; k < width; k++) inputs[(r * N + i) * width + k] = t.features[(r * m + z[r * N + i]) * width + k];
  const weights = all ? posterior({ ...t, features: own }, z, N).p : new Float64Array(N).fill(1 / N), batch = rows(h, inputs, post.target, N, Float64Array, weights);
  let floor = 0, best = 0;
  for (let i = 0; i < N; i++) {
    const q = Array.from(post.target.subarray(i * t.classes, (i + 1) * t.classes));
    floor += weights[i] * (1 - q.reduce((a, b) => a + b * b, 0)) / 2;
    best += weights[i] * Math.max(...q);
  }
  return { batch, N, all, floor, best, space: null };
}
/** Exact mean loss and share of right answers of a real network on the examination. */
function examine(s, ex) {
  const e = expand(s, ex.batch, "mean", (ex.space ??= expansion(s, ex.batch))), n = s.widths.at(-1), f = e.F[s.hierarchy.depth], q = ex.batch.target, p = ex.batch.prior[0];
  let loss = ex.floor, right = 0;
  for (let i = 0; i < ex.N; i++) {
    let k = 0;
    for (let j = 0; j < n; j++) { loss += p[i] * (f[i * n + j] - q[i * n + j]) ** 2 / 2; if (f[i * n + j] > f[i * n + k]) k = j; }
    right += p[i] * q[i * n + k];
  }
  return { loss, right };
}

export const tables = {
  pictures: [226, 226],
  start(s, given) {
    const t = given ? teacher(given) : latentTree(tree(s.depth), 2, s.polarity), h = t.hierarchy;
    const widths = [t.features.length / t.prior[0].length, ...Array(h.depth - 1).fill(s.width), t.classes];
    const make = (i) => student(h, widths, { random: generator(s.seed, i) });
    const onTables = range(MEMBERS).map(make), onSamples = h.isTree ? onTables.map(copy) : [];
    return { s, t, step: 0, random: generator(s.seed, 100), batch: null, ex: h.isTree ? examination(t, s.seed) : null, onTables, onSamples, space: expansion(onTables[0], t), wide: null,
      reduced: [], at: [], marks: [], pending: false, tables: [], samples: [], own: given !== null, lost: false };
  },
  step(run) {
    const { s, t } = run;
    if (run.ex && run.step % (s.steps / 8) === 0 && run.at.at(-1) !== run.step) {      // first all students are examined, one at a time
      const i = run.marks.length, all = [...run.onTables, ...run.onSamples];
      run.marks.push(examine(all[i], run.ex));
      run.pending = i + 1 < all.length;
      if (run.pending) return true;
      run.at.push(run.step);
      run.tables.push(run.marks.slice(0, MEMBERS));
      run.samples.push(run.marks.slice(MEMBERS));
      run.marks = [];
    }
    run.reduced.push(run.onTables.map((m) => descend(m, t, s.lr, run.space)));
    if (run.onSamples.length) {
      run.batch = sample(t, s.batch, run.random, run.batch);
      run.wide ??= expansion(run.onSamples[0], run.batch);
      for (const m of run.onSamples) descend(m, run.batch, s.lr, run.wide);
    }
    run.lost = !run.reduced.at(-1).every((v) => v < 1e6);
    run.step++;
    return run.step <= s.steps && !run.lost;
  },
  draw(run, [left, right]) {
    const { s, ex } = run, mean = run.reduced.map(average), x = [0, s.steps], ticks = [0, s.steps / 2, s.steps];
    const stats = (list) => list.map((r) => spread(r.map((v) => v.loss))), S = stats(run.samples), T = stats(run.tables), get = (a, k) => a.map((v) => v[k]);
    left.clear(`Loss over ${s.steps} steps. Reduced loss in table space: ${number(mean.at(-1) ?? 0, 4)}. ${S.length ? `Loss of SGD on samples: ${number(S.at(-1).mean)}; noise floor ${number(ex.floor)}.` : ""}`);
    const a = left.chart({ x, y: [1e-4, 2], logy: true, xticks: ticks, yticks: [1e-4, 0.01, 1], ynames: (v) => ({ 0.0001: "10⁻⁴", 0.01: "0.01", 1: "1" })[v], xlabel: "step", ylabel: "loss: what each student descends on" });
    if (ex) { a.level(ex.floor); a.label(s.steps, ex.floor, "noise floor", "quiet", "end", 0, 13); }
    const floor = mean.findIndex((v) => v < 1e-4), seen = floor < 0 ? mean.length : floor;
    a.line(range(seen), mean.slice(0, seen), "theory");
    a.diamonds(run.at, get(S, "mean"), get(S, "low"), get(S, "high"));
    if (mean.length > 8) { const i = Math.min(mean.length - 1, Math.max(6, mean.findIndex((v) => v < 2e-3))); a.label(i, Math.max(mean[i], 3e-4), "reduced loss", "theory", i > s.steps * 0.6 ? "end" : "start", i > s.steps * 0.6 ? -8 : 8, i > s.steps * 0.6 ? 14 : -4); }
    if (S.length) a.label(s.steps, 0.75, "loss of SGD on samples", "measure", "end", 0, -6);
    right.clear(ex ? `Loss on real inputs: trained in table space ${number(T.at(-1)?.mean ?? 0)}, on samples ${number(S.at(-1)?.mean ?? 0)}, noise floor ${number(ex.floor)}.` : "No inputs can be drawn where receptive fields overlap.");
    if (!ex) { right.text(0, 30, "Where fields overlap, pairwise tables define", "quiet"); right.text(0, 50, "no law of inputs: there is nothing to draw.", "quiet"); return; }
    const later = (list) => get(list, "high").slice(list.length > 1), top = ceiling(1.25 * Math.max(0.3, ...later(T), ...later(S))), b = right.chart({ x, y: [0, top], xticks: ticks, yticks: [0, top / 2, top], ynames: (v) => String(v), xlabel: "step", ylabel: "loss of both on real inputs" });
    b.level(ex.floor);
    b.label(s.steps, ex.floor, "noise floor", "quiet", "end", 0, 13);
    b.circles(run.at, get(T, "mean"), get(T, "low"), get(T, "high"));
    b.diamonds(run.at, get(S, "mean"), get(S, "low"), get(S, "high"));
    b.label(s.steps, top, "trained in table space", "student", "end", 0, 4);
    b.label(s.steps, top, "trained on samples", "measure", "end", 0, 21);
  },
  say(run) {
    if (run.lost) return ["At step ", [String(run.step)], " the loss grew beyond all bounds. A smaller learning rate helps."];
    if (!run.reduced.length) return ["Training begins."];
    const start = ["After ", [words(run.step - 1, "step")], " the reduced loss is ", [number(average(run.reduced.at(-1)), 4)], ". "];
    if (!run.ex) return [...start, "These fields overlap, so inputs cannot be drawn: table space is all there is."];
    const [T, S] = [run.tables.at(-1), run.samples.at(-1)], mean = (list, k) => average(list.map((v) => v[k]));
    return [...start, `On ${run.own ? "trees drawn from this teacher" : "real inputs"} the same students have `, [number(mean(T, "loss"))], ", those trained on samples ", [number(mean(S, "loss"))],
      "; no function of the leaves gets below ", [number(run.ex.floor)], ". Right answers: ", [percent(mean(T, "right"), 1)], ", ", [percent(mean(S, "right"), 1)], " and at best ", [percent(run.ex.best, 1)], run.ex.all ? "." : `, on ${TEST} fresh trees.`];
  },
  results: (run) => ({ steps: range(run.reduced.length), loss: run.reduced, at: run.at, samples: run.samples.map((r) => r.map((v) => v.loss)), tables: run.tables.map((r) => r.map((v) => v.loss)),
    right: [run.tables, run.samples].map((l) => (l.length ? average(l.at(-1).map((v) => v.right)) : null)), floor: run.ex?.floor ?? null, best: run.ex?.best ?? null }),
  python: (s, own) => `import tsframe as tsf
from tsframe import explorers

${own ? "h = teacher.hierarchy            # the teacher that you gave" : `h = tsf.Hierarchy.tree(${s.depth})
teacher = tsf.Teacher.latent_tree(h, polarity=${s.polarity}, seed=0)`}
n, classes = teacher.features.shape[-1], teacher.target.shape[-1]
widths = [n] + [${s.width}] * (h.depth - 1) + [classes]
on_tables, on_samples = (explorers.start(tsf.Student(
    h, widths, ensemble=(${MEMBERS},), seed=0), ${s.seed}) for _ in range(2))

plan = dict(steps=${s.steps}, lr=${s.lr})
tables = tsf.train(on_tables, teacher, **plan)
draw = explorers.Sampler(teacher, ${s.seed})
tsf.train(on_samples, draw, batch=${s.batch}, seed=0, **plan)
print(tables.loss[-1].mean().item())       # the end of the line`,
};
