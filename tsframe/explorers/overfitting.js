// Chapter overfitting: a hard region that knows the label, a loud one that does not, and the size of the sample.
import { hierarchy, student, generator } from "./engine.js";
import { number, percent, range, spread, average } from "./draw.js";

const SIZES = range(11).map((i) => 2 ** (4 + i)), NODES = 64, LOUD = 8, SAMPLES = 48, FITS = 12, RATE = 4;

/** E|δ| of N tosses, half of each label: the share of outcomes with as many heads as tails, by its logarithm. */
const coins = (N) => { let log = 0; for (let k = 1; k <= N / 2; k++) log += Math.log1p(-0.5 / k); return Math.exp(log); };

/** Counts of pairs (x_α, x_γ) by label, over N, and δ of γ: half of the rows of each label. */
function draw(s, N, g) {
  const m = s.contents, p = [new Float64Array(m * LOUD), new Float64Array(m * LOUD)], first = [0, 0];
  for (let y = 0; y < 2; y++) for (let i = 0; i < N / 2; i++) {
    const side = g.uniform() < (1 + (y ? -1 : 1) * s.tilt) / 2 ? 0 : 1, a = (side + g.uniform()) * m / 2 | 0;
    const z = g.uniform() < (1 + s.tie) / 2 ? y : 1 - y, c = (z + g.uniform()) * LOUD / 2 | 0;
    p[y][a * LOUD + c] += 1 / N;
    if (!z) first[y] += 2 / N;
  }
  return { p, delta: first[0] - first[1] };
}
/** f of each content from the hidden weights W (2, most, nodes), and its difference between the states, by region. */
function look(W, m, tilt) {
  const most = Math.max(m, LOUD);
  return [[m, tilt], [LOUD, 1]].map(([n, lean], r) => {
    const f = W.slice(r * most * NODES, (r * most + n) * NODES).map((x) => Math.max(0, x)), sep = new Float64Array(NODES);
    for (let e = 0; e < n; e++) for (let k = 0; k < NODES; k++) sep[k] += (e < n / 2 ? 2 : -2) * lean / n * f[e * NODES + k];
    return { n, lean, f, sep, size: Math.hypot(...sep) };
  });
}
/** Gradient descent on hidden weights and readout from zero readout, all contents with their counts; the bias at its best. */
function fit(W, p, m, steps) {
  const n = [m, LOUD], most = Math.max(m, LOUD), w = n.map((k, r) => W.slice(r * most * NODES, (r * most + k) * NODES)), v = [new Float64Array(NODES), new Float64Array(NODES)];
  const d = p[0].map((x, i) => (x - p[1][i]) / 2), s = p[0].map((x, i) => x + p[1][i]), out = n.map((k) => new Float64Array(k));
  for (let step = 0; ; step++) {
    let mean = 0;
    for (let r = 0; r < 2; r++) for (let e = 0; e < n[r]; e++) { let sum = 0; for (let k = 0; k < NODES; k++) { const x = w[r][e * NODES + k]; if (x > 0) sum += x * v[r][k]; } out[r][e] = sum; }
    for (let a = 0; a < m; a++) for (let c = 0; c < LOUD; c++) mean += s[a * LOUD + c] * (out[0][a] + out[1][c]);
    if (step === steps) return { out, mean };
    const g = n.map((k) => new Float64Array(k));
    for (let a = 0; a < m; a++) for (let c = 0; c < LOUD; c++) { const i = a * LOUD + c, e = d[i] - s[i] * (out[0][a] + out[1][c] - mean); g[0][a] += e; g[1][c] += e; }
    for (let r = 0; r < 2; r++) {
      const dv = new Float64Array(NODES);
      for (let e = 0; e < n[r]; e++) for (let k = 0, i = e * NODES; k < NODES; k++, i++) if (w[r][i] > 0) { dv[k] += g[r][e] * w[r][i]; w[r][i] += RATE / NODES * g[r][e] * v[r][k]; }
      for (let k = 0; k < NODES; k++) v[r][k] += RATE / NODES * dv[k];
    }
  }
}
/** Share of right answers, on a table of counts or probabilities. */
function right({ out, mean }, p) {
  let sum = 0.5;
  for (let a = 0; a < out[0].length; a++) for (let c = 0; c < LOUD; c++) sum += Math.sign(out[0][a] + out[1][c] - mean) * (p[0][a * LOUD + c] - p[1][a * LOUD + c]) / 2;
  return sum;
}
/** P(content | label) of a region, and P(content | state). */
function laws({ n, lean }, tie) {
  const state = [1, -1].map((z) => range(n).map((e) => (1 + z * (e < n / 2 ? 1 : -1) * lean) / n));
  return { state, label: [1, -1].map((y) => range(n).map((e) => ((1 + y * tie) * state[0][e] + (1 - y * tie) * state[1][e]) / 2)) };
}
/** After one step from zero readout a region holds sep·Δw of the output per rate, the signal of the node u = sep·f:
    the lemma's mean ¼(μ1 - μ2) and variance (v1 + v2) / 8N. */
function once({ f, sep, n }, { label }) {
  const u = range(n).map((e) => { let sum = 0; for (let k = 0; k < NODES; k++) sum += sep[k] * f[e * NODES + k]; return sum; });
  const moment = (q, power) => q.reduce((sum, p, e) => sum + p * u[e] ** power, 0), [m1, m2] = label.map((q) => moment(q, 1));
  return { mean: (m1 - m2) / 4, spread: (label.reduce((sum, q) => sum + moment(q, 2), 0) - m1 ** 2 - m2 ** 2) / 8 };
}

export const overfitting = {
  pictures: [250, 250],
  paced: false,
  start(s) {
    const m = s.contents, most = Math.max(m, LOUD), h = hierarchy([null, [[0], [1]], [[0, 1]]]);
    const nets = range(SAMPLES).map((i) => student(h, [most, NODES, 1], { random: generator(s.seed, i) }).W[1]), plain = nets.map((W) => W.map((x) => x * Math.sqrt(most / 2)));
    const seen = nets.map((W) => look(W, m, s.tilt)), law = [laws(seen[0][0], 1), laws(seen[0][1], s.tie)], loose = plain.map((W) => look(W, m, s.tilt));
    const [hard, loud] = [0, 1].map((r) => average(seen.map((x) => x[r].size))), first = [0, 1].map((r) => loose.map((x) => once(x[r], law[r])));
    const truth = [0, 1].map((y) => Float64Array.from({ length: m * LOUD }, (_, i) => law[0].label[y][Math.floor(i / LOUD)] * law[1].label[y][i % LOUD] / 2));
    return { s, m, plain, seen, loose, law, truth, hard, loud, first, star: 2 / Math.PI * (loud / hard) ** 2, fits: s.steps === 1 ? SAMPLES : 16, sizes: [], delta: [], holds: [], scores: [], at: 0, i: 0, over: false };
  },
  step(run) {
    const { s, m, at, i } = run, N = SIZES[at], { p, delta } = draw(s, N, generator(s.seed, 1000 + at * SAMPLES + i));
    if (i === 0) for (const list of [run.delta, run.holds, run.scores]) list.push([]);
    run.delta[at].push(Math.abs(delta) * run.seen[i][1].size / 4);
    if (i < run.fits) {
      const net = fit(run.plain[i], p, m, s.steps);
      run.holds[at].push([0, 1].map((r) => net.out[r].reduce((sum, x, e) => sum + (run.law[r].state[0][e] - run.law[r].state[1][e]) * x, 0)));
      run.scores[at].push([right(net, p), right(net, run.truth)]);
    }
    if (++run.i === SAMPLES) { run.i = 0; run.at++; run.sizes.push(N); }
    return run.at < SIZES.length;
  },
  draw(run, [left, right]) {
    const { s, hard, loud, star, sizes } = run, x = [SIZES[0], SIZES.at(-1)], xticks = [16, 128, 1024, 8192], theory = SIZES.map((N) => coins(N) * loud / 4), powers = (v) => "10" + [...String(Math.round(Math.log10(v)))].map((c) => ({ "-": "⁻" }[c] ?? "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("");
    const low = 10 ** Math.floor(Math.log10(Math.min(theory.at(-1), hard / 4) * 0.8)), high = 10 ** Math.ceil(Math.log10(Math.max(theory[0], hard / 4))), ticks = (a, b) => range(Math.round(Math.log10(b / a)) + 1).map((k) => a * 10 ** k);
    left.clear(`Signals between cells over the sample size. The spurious region's falls like one over the root of N, the hard region's does not; they cross at ${number(star, 0)} samples.`);
    const c = left.chart({ x, y: [low, high], logx: true, logy: true, xticks, yticks: ticks(low, high), ynames: powers, xlabel: "sample size N", ylabel: "signal between cells, first step" });
    if (star > x[0] && star < x[1]) c.upright(star);
    c.line(SIZES, theory, "theory");
    c.line(x, [hard / 4, hard / 4], "theory");
    c.label(SIZES.at(-1), hard / 4, "hard region α", "theory", "end", 0, hard / 4 > Math.sqrt(low * high) && hard / 4 > theory[7] ? -9 : 12);
    c.label(SIZES[0], theory[0], "spurious γ", "theory", "start", 14, -9);
    const stats = run.delta.slice(0, sizes.length).map(spread), err = stats.map((v) => v.sd / Math.sqrt(SAMPLES));
    c[s.tie ? "crosses" : "diamonds"](sizes, stats.map((v) => v.mean), stats.map((v, i) => Math.max(low, v.mean - err[i])), stats.map((v, i) => v.mean + err[i]));
    const root = (xs) => Math.sqrt(average(xs.map((v) => v * v))), holds = [0, 1].map((r) => run.holds.slice(0, sizes.length).map((l) => root(l.map((v) => v[r])))), rate = RATE / NODES;
    const line = [0, 1].map((r) => SIZES.map((N) => s.steps * rate * Math.sqrt(average(run.first[r].map((v) => v.mean ** 2 + v.spread / N)))));
    const all = [...line.flat(), ...holds.flat()].filter((v) => v > 0), floor = 10 ** Math.floor(Math.log10(Math.min(...all))), top = Math.max(floor * 10, Math.min(10, 10 ** Math.ceil(Math.log10(Math.max(...all)))));
    right.clear(`Hold on the output after ${s.steps === 1 ? "one step" : `${s.steps} steps`} of training, root mean square: at ${SIZES[0]} samples ${number(holds[0][0] ?? 0, 4)} for the hard region and ${number(holds[1][0] ?? 0, 4)} for the spurious one.`);
    const d = right.chart({ x, y: [floor, top], logx: true, logy: true, xticks, yticks: ticks(floor, top), ynames: powers, xlabel: "sample size N", ylabel: "how far the output moves with the state" });
    const cut = (ys) => { const keep = ys.map((v, i) => i).filter((i) => ys[i] <= top); return [keep.map((i) => SIZES[i]), keep.map((i) => ys[i])]; };
    for (const r of [0, 1]) d.line(...cut(line[r]), "theory", s.steps === 1 ? {} : { dash: "2 4", width: 1.6 });
    d.circles(sizes, holds[0]);
    d.diamonds(sizes, holds[1], null, null, "measure", 4.6);
    d.label(SIZES.at(-1), top, "hard region α", "student", "end", 0, 6);
    d.label(SIZES.at(-1), top, "spurious γ", "measure", "end", 0, 22);
    d.label(SIZES.at(-1), top, s.steps === 1 ? "lines: theory" : `dots: ${s.steps} first steps`, "theory", "end", 0, 38);
  },
  say(run) {
    const n = run.sizes.length;
    if (!n) return ["Samples are drawn."];
    const log = (a) => Math.log(a), xs = run.sizes.map(log), ys = run.delta.slice(0, n).map((l) => log(average(l))), mx = average(xs), my = average(ys);
    const slope = n > 2 ? xs.reduce((sum, x, i) => sum + (x - mx) * (ys[i] - my), 0) / xs.reduce((sum, x) => sum + (x - mx) ** 2, 0) : NaN;
    const score = (k) => [percent(average(run.scores[k].map((v) => v[0]))), percent(average(run.scores[k].map((v) => v[1])), 1)], [a, b] = [score(0), score(n - 1)];
    return ["The signals cross at N* = ", [number(run.star, 0)], " by theory", ...(Number.isFinite(slope) ? ["; the measured slope is ", [number(slope)], run.s.tie ? ", since γ is tied to the label" : " (theory −0.5)"] : []),
      `. After ${run.s.steps === 1 ? "one step" : `${run.s.steps} steps`} students are right on `, [a[0]], ` of ${run.sizes[0]} examples and on `, [a[1]], ` of new ones; of ${run.sizes[n - 1].toLocaleString("en")} on `, [b[0]], " and ", [b[1]], "."];
  },
  results: (run) => ({ star: run.star, sizes: run.sizes, signal: run.delta.map((l) => (l.length ? average(l) : 0)), hard: run.hard / 4, theory: SIZES.map((N) => coins(N) * run.loud / 4), holds: run.holds, scores: run.scores }),
  python: (s) => `import math
import tsframe as tsf
from tsframe import explorers
from tsframe.certificates.examples import two_regions

teacher = two_regions((${s.contents}, ${LOUD}), tilt=${s.tilt}, tie=${s.tie})
n = teacher.features.shape[-1]
student = explorers.start(tsf.Student(
    teacher.hierarchy, [n, ${NODES}, 1], ensemble=(${SAMPLES},), seed=0), ${s.seed})
f = (teacher.features @ student.W[1][:, :, 0]).relu()
F = teacher.P[1][:, 0] @ f                   # E[f_k | z]
hard, loud = (F[..., 0, :] - F[..., 1, :]).norm(dim=-1).mean(0)
print((2 / math.pi * (loud / hard) ** 2).item())     # N*`,
};
