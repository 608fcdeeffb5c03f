// Chapter batchnorm: three samples in space, the plane that a normalisation empties, and what ε leaves there.
import { batchNorm } from "./engine.js";
import { ink, number, range } from "./draw.js";

const P = [1 / 3, 1 / 3, 1 / 3], dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0), scaled = (a, t) => a.map((x) => x * t), plus = (a, b, t = 1) => a.map((x, i) => x + t * b[i]);
const unit = (a) => scaled(a, 1 / Math.hypot(...a));

/** -dL/df by differences, times 3: L = -⟨g, v(f)⟩, in which nothing of the formula occurs. */
function felt(f, g, eps) {
  const loss = (x) => { const m = dot(x, P), s = Math.sqrt(x.reduce((sum, v) => sum + (v - m) ** 2 / 3, 0) + eps); return -x.reduce((sum, v, i) => sum + g[i] * (v - m) / s / 3, 0); };
  return range(3).map((i) => { const e = range(3).map((k) => 1e-5 * +(k === i)); return -3 * (loss(plus(f, e)) - loss(plus(f, e, -1))) / 2e-5; });
}

export const batchnorm = {
  pictures: [260, 260],
  start(s) {
    const f = [0, s.middle, 2], g = [s.g1, s.g2, s.g3], mean = dot(f, P), centred = f.map((x) => x - mean), variance = dot(centred, centred) / 3, eps = s.ratio * variance, size = Math.sqrt(variance + eps);
    const up = unit([centred[2] - centred[1], centred[0] - centred[2], centred[1] - centred[0]]), axes = [unit([1, 1, 1]), unit(centred), up];
    const back = scaled(Array.from(batchNorm(f, P, { eps }, g)), size), measured = scaled(felt(f, g, eps), size);
    const ratios = range(13).map((k) => 10 ** (k / 2 - 3)), pull = plus(axes[1], up);      // a signal that has a part along f, whatever g is
    const share = ratios.map((r) => dot(scaled(felt(f, pull, r * variance), Math.sqrt((1 + r) * variance)), axes[1]) / dot(pull, axes[1]));
    return { s, f, g, axes, back, measured, ratios, share, parts: axes.map((a) => dot(g, a)), over: true };
  },
  draw(run, [left, right]) {
    const { s, g, axes, back, measured } = run, az = s.turn * Math.PI / 180, el = 0.35, stays = s.ratio / (1 + s.ratio);
    const sideways = [-Math.sin(az), Math.cos(az), 0], upwards = [-Math.cos(az) * Math.sin(el), -Math.sin(az) * Math.sin(el), Math.cos(el)];
    const own = (v) => axes.map((a) => dot(v, a)), place = (c) => [150 + 46 * dot(c, sideways), 150 - 46 * dot(c, upwards)];
    const arrow = (from, to, role, width = 2.4) => {
      const [x1, y1] = place(from), [x2, y2] = place(to), d = Math.hypot(x2 - x1, y2 - y1);
      if (d < 2) return;
      const [u, v] = [(x2 - x1) / d, (y2 - y1) / d], a = Math.min(9, d * 0.6);
      left.path([[x1, y1], [x2 - u * a * 0.7, y2 - v * a * 0.7]], role, { width });
      left.path([[x2, y2], [x2 - u * a - v * a * 0.45, y2 - v * a + u * a * 0.45], [x2 - u * a + v * a * 0.45, y2 - v * a - u * a * 0.45]], "none", { fill: ink(role), close: true });
    };
    const word = (c, text, role, dx = 0, dy = 0, anchor = "middle") => { const [x, y] = place(c); left.text(Math.max(4, Math.min(316, x + dx)), Math.max(14, Math.min(254, y + dy)), text, role, anchor, { class: "halo" }); };
    left.clear(`A signal g in the space of three samples. Its part in the plane of 1 and f is taken out${s.ratio ? `, up to a share of ${number(stays, 2)} along f` : ""}; ${number(Math.hypot(...back), 2)} is the length of what comes back, times s.`);
    left.path([[-1.2, -2.2, 0], [2.2, -2.2, 0], [2.2, 2.2, 0], [-1.2, 2.2, 0]].map(place), "none", { fill: ink("student"), opacity: 0.14, close: true });
    range(3).forEach((i) => { const e = own(range(3).map((k) => +(k === i))); left.path([[0, 0, 0], scaled(e, 1.25)].map(place), "line", { width: 0.9 }); word(scaled(e, 1.5), `sample ${i + 1}`, "quiet", 0, 4); });
    arrow([0, 0, 0], [1.7, 0, 0], "ink");
    word([1.7, 0, 0], "1", "ink", 0, 16);
    arrow([0, 0, 0], [0, 1.6, 0], "student");
    word([0, 1.6, 0], "f − μ", "student", 10, 16);
    const [G, B, M] = [own(g), own(back), own(measured)], flat = [G[0], G[1], 0];
    left.path([G, flat].map(place), "quiet", { width: 1.1, dash: "1.5 3" });
    left.path([[0, 0, 0], flat].map(place), "quiet", { width: 1.1, dash: "1.5 3" });
    left.path([G, B].map(place), "quiet", { width: 1.1, dash: "1.5 3" });
    arrow([0, 0, 0], G, "quiet");
    arrow([0, 0, 0], B, "theory", 2.8);
    left.diamond(...place(M), 4.4);
    if (Math.hypot(...G) > 0.3) word(G, "g", "quiet", G[1] < 0 ? -9 : 9, -7);
    word(B, "comes back", "theory", 0, B[2] < 0 ? 20 : -12);
    right.clear(`Share of the signal's part along f that stays, over ε divided by the variance: ε/s² by theory, and by differences of the loss on the same line. Here it is ${number(stays, 3)}.`);
    const c = right.chart({ x: [1e-3, 1e3], y: [0, 1.04], logx: true, xticks: [0.001, 0.1, 10, 1000], xnames: (v) => ({ 0.001: "0.001", 0.1: "0.1", 10: "10", 1000: "1000" })[v], yticks: [0, 0.5, 1], xlabel: "ε / σ²", ylabel: "share along f that stays" });
    const fine = range(61).map((k) => 10 ** (k / 10 - 3));
    c.line(fine, fine.map((r) => r / (1 + r)), "theory");
    c.diamonds(run.ratios, run.share);
    if (s.ratio >= 1e-3) { c.upright(s.ratio); right.circle(c.X(s.ratio), c.Y(stays), 4.4, 1, "ink"); }
    c.label(1e3, 0.3, "theory: ε / s²", "theory", "end");
    c.label(1e3, 0.3, "loss differences", "measure", "end", 0, 17);
  },
  say(run) {
    const { back, measured, parts, s } = run, gap = Math.max(...back.map((x, i) => Math.abs(x - measured[i])));
    const three = (v) => `(${v.map((x) => number(x, 2)).join(", ")})`;
    return ["What comes back, times s, is ", [three(back)], `; differences of the loss give the same to ${number(gap, 6)}. Along 1 nothing stays of ${number(parts[0], 2)}, along f − μ `, [number(s.ratio / (1 + s.ratio), 3)], ` of ${number(parts[1], 2)}; across the plane `, [number(parts[2], 2)], " pass whole."];
  },
  results: (run) => ({ back: run.back, measured: run.measured, parts: run.parts, share: run.share }),
  python: (s) => `import torch
import tsframe as tsf

f = torch.tensor([0, ${s.middle}, 2]).double()[:, None]
g = torch.tensor([${s.g1}, ${s.g2}, ${s.g3}]).double()[:, None]
variance = f.var(correction=0).item()
bn = tsf.BatchNorm(eps=${s.ratio} * variance)
s = (variance + bn.eps) ** 0.5
print((s * bn.back(f, g))[:, 0].tolist())`,
};
