// Chapter winners: four students of one to three teacher nodes, the exact flow and training on samples.
import { tree, student, generator, expansion, descend, rows, angles, flowStep } from "./engine.js";
import { number, range, spread, average, words, ceiling } from "./draw.js";

const TIME = 60, STEP = 0.1, RUNS = 6, N = 4, D = 5, TEACHERS = [0, 2, 3], MARKS = 10;
const degrees = (x) => x * 180 / Math.PI;

/** Places of labels at least a gap apart, in order; what ends at one place has one label. */
function labelled(ends, near, gap) {
  const groups = [];
  for (const { y, name } of ends.map((y, k) => ({ y, name: String(k + 1) })).sort((a, b) => a.y - b.y)) {
    if (groups.length && y - groups.at(-1).y < near) groups.at(-1).names.push(name); else groups.push({ y, names: [name] });
  }
  groups.forEach((g, i) => { g.at = i ? Math.max(g.y, groups[i - 1].at + gap) : g.y; });
  return groups.map((g) => [g.at, g.names.sort().join(", ")]);
}

export const winners = {
  pictures: [250, 250],
  start(s) {
    const theta = [s.first, s.second, 1.3, 1.4], W = Float64Array.from({ length: N * D }, (_, x) => { const [k, i] = [Math.floor(x / D), x % D]; return i === 0 ? Math.cos(theta[k]) : i === k + 1 ? Math.sin(theta[k]) : 0; });
    const V = new Float64Array(N).fill(s.fan), W0 = new Float64Array(s.teachers * D), V0 = new Float64Array(s.teachers).fill(1);
    for (let j = 0; j < s.teachers; j++) W0[j * D + TEACHERS[j]] = 1;
    const h = tree(2, 1), across = Float64Array.from({ length: N * D }, (_, x) => W[(x % N) * D + Math.floor(x / N)]);
    const nets = range(RUNS).map(() => student(h, [D, N, 1], { W: [null, across, V] })), draws = range(RUNS).map((i) => generator(s.seed, 100 + i));
    const line = { times: [], angles: [], fans: [] };
    for (let t = 0; t <= TIME / STEP; t++) {
      if (t % 10 === 0) { line.times.push(t * STEP); line.angles.push(angles(W, W0, D)); line.fans.push(V.slice()); }
      flowStep(W, V, W0, V0, D, STEP);
    }
    const last = line.angles.at(-1), node = range(N).map((k) => range(s.teachers).reduce((a, j) => (last[k * s.teachers + j] < last[k * s.teachers + a] - 1e-9 ? j : a), 0));
    const batch = rows(h, new Float64Array(s.batch * D), new Float64Array(s.batch), s.batch);
    return { s, line, node, W0, nets, draws, batch, space: expansion(nets[0], batch), steps: Math.round(TIME / s.lr), step: 0, at: [], angles: [], fans: [], over: false };
  },
  step(run) {
    const { s, batch, steps } = run;
    if (run.step % (steps / MARKS) === 0) {
      const rowsOf = (net) => Float64Array.from({ length: N * D }, (_, x) => net.W[1][(x % D) * N + Math.floor(x / D)]);
      run.at.push(run.step * s.lr);
      run.angles.push(run.nets.map((net) => angles(rowsOf(net), run.W0, D)));
      run.fans.push(run.nets.map((net) => net.W[2].slice()));
    }
    run.nets.forEach((net, r) => {
      const x = batch.features, w = net.W[1];
      for (let i = 0; i < x.length; i++) x[i] = run.draws[r].normal();
      for (let i = 0; i < s.batch; i++) { batch.target[i] = 0; for (let j = 0; j < s.teachers; j++) batch.target[i] += Math.max(0, x[i * D + TEACHERS[j]]); }
      descend(net, batch, s.lr, run.space);
      for (let k = 0; k < N; k++) {
        let size = 0;
        for (let i = 0; i < D; i++) size += w[i * N + k] ** 2;
        for (let i = 0; i < D; i++) w[i * N + k] /= Math.sqrt(size);
      }
    });
    return ++run.step <= steps;
  },
  draw(run, [left, right]) {
    const { s, line, node, at } = run, m = s.teachers, turn = (a, k) => degrees(a[k * m + node[k]]);
    const show = (picture, options, exact, found, near) => {
      const c = picture.chart({ x: [0, TIME], xticks: [0, 20, 40, 60], xlabel: "time (steps × rate)", right: 276, ...options });
      for (let k = 0; k < N; k++) {
        const stats = found.map((r) => spread(r.map((a) => options.read(a, k)))), means = stats.map((v) => v.mean);
        c.line(line.times, exact.map((a) => options.read(a, k)), "theory", { width: 1.8 });
        stats.forEach((v, i) => { if (Math.abs(c.Y(v.sd) - c.Y(0)) > 3) c.bar(at[i], v.mean - v.sd, v.mean + v.sd, "measure"); });
        c.diamonds(at, means, null, null, "measure", 3.6);
      }
      picture.text(c.left, picture.height - 6, options.mark, options.role);
      const ends = range(N).map((k) => -c.Y(options.read(exact.at(-1), k)));
      for (const [y, text] of labelled(ends, near, 13)) picture.text(282, 4 - y, text, "theory", "start", { class: "halo" });
    };
    const ends = range(N).map((k) => number(turn(line.angles.at(-1), k), 0) + "°").join(", "), fans = range(N).map((k) => number(line.fans.at(-1)[k], 2)).join(", ");
    left.clear(`Angles of four students to ${m === 1 ? "the teacher node" : "their teacher nodes"} over time, exact lines and training on samples. By theory they end at ${ends}.`);
    const high = Math.max(90, ...line.angles.flatMap((a) => range(N).map((k) => turn(a, k)))) > 90 ? 180 : 90;
    show(left, { mark: "line: the flow", role: "theory", y: [0, high], yticks: [0, high / 2, high], ynames: (v) => v + "°", read: turn, ylabel: m === 1 ? "angle to the teacher node" : "angle to the nearest teacher node at the end" }, line.angles, run.angles, 7);
    right.clear(`Fan-outs of four students over time, exact lines and training on samples. By theory they end at ${fans}.`);
    const all = [...line.fans, ...run.fans.flat()].flatMap((v) => Array.from(v)), low = Math.min(0, Math.floor(Math.min(...all) * 2 + 0.3) / 2), top = ceiling(Math.max(1, ...all) - 0.05);
    show(right, { mark: "◇ on samples", role: "measure", y: [low, top], yticks: low < 0 ? [low, 0, top] : [0, top / 2, top], ynames: (v) => number(v, Number.isInteger(v) ? 0 : 1), read: (v, k) => v[k], ylabel: "fan-out" }, line.fans, run.fans, 9);
  },
  say(run) {
    const { s, line, node, step } = run;
    if (!run.at.length) return ["Training begins."];
    const i = run.at.length - 1, fan = (k) => average(run.fans[i].map((v) => v[k])), theory = line.fans[Math.round(run.at[i])], m = s.teachers;
    const best = range(m).map((j) => range(N).filter((k) => node[k] === j).sort((a, b) => theory[b] - theory[a])[0]), won = best.map((k, j) => [k, j]).filter(([k]) => k !== undefined);
    const others = range(N).filter((k) => !best.includes(k)), off = Math.max(...run.fans.map((r, t) => Math.max(...range(N).map((k) => Math.abs(average(r.map((v) => v[k])) - line.fans[Math.round(run.at[t])][k])))));
    const away = (k, j) => number(Math.round(10 * degrees(average(run.angles[i].map((a) => a[k * m + j])))) / 10, 1) + "°";
    return ["After ", [words(Math.max(0, step - 1), "step")], " on samples ", ...won.flatMap(([k, j], n) => [n ? "; " : "", `student ${k + 1} has fan-out `, [number(fan(k), 2)], ` (theory ${number(theory[k], 2)}), `, [away(k, j)], ` from teacher node ${j + 1}`]),
      ...(others.length ? [`; ${others.length === 1 ? "the other keeps" : "the others keep"} at most `, [number(Math.max(...others.map((k) => Math.abs(fan(k)))), 2)]] : []), ". No mean fan-out was farther from its line than ", [number(off, 2)], "."];
  },
  results: (run) => ({ times: run.line.times, angles: run.line.angles.map((a) => Array.from(a)), fans: run.line.fans.map((v) => Array.from(v)), at: run.at,
    measured: run.fans.map((r) => r.map((v) => Array.from(v))), turned: run.angles.map((r) => r.map((a) => Array.from(a))) }),
  python: (s) => `import torch
import tsframe as tsf
from tsframe import explorers, gaussian

rows = gaussian.at_angles([${s.first}, ${s.second}, 1.3, 1.4])
student = tsf.Dense([None, rows, torch.full((1, ${N}), ${s.fan}).double()])
teacher = tsf.Dense([None, torch.eye(${D}).double()[[${TEACHERS.slice(0, s.teachers).join(", ")}]],
                     torch.ones(1, ${s.teachers}).double()])
flow = gaussian.flow(student, teacher, time=${TIME}, step=${STEP}, every=10)
print(flow.V[-1, 0].tolist())                # the ends of the lines

for i in range(${RUNS}):                           # on samples
    mine = student.copy()
    tsf.train_dense(mine, teacher, explorers.Inputs(${D}, ${s.seed}, 100 + i),
                    steps=${Math.round(TIME / s.lr)}, lr=${s.lr}, batch=${s.batch},
                    unit="hidden", every=${Math.round(TIME / s.lr)}, seed=0)
    print(mine.W[2][0].tolist())`,
};
