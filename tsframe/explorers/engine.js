// The recursion on the teacher's graph, in the page: the twin of tsframe's hierarchy, teacher, ladder, student and
// expansion, in their names and order. Lists by level, leaves = 0. A tensor is one flat array, its last axis fastest;
// comments give shapes with R_l regions, C_l children each, m_l states (or rows of a batch), n_l nodes.
//
//     H_α = Σ_β P_αβ F_β W_βα + b_α,   F_α = D_α ∘ H_α        G_β = D_β ∘ Σ_α P^b_βα G_α W_βα^T,   ΔW_βα = (P_αβ F_β)^T Λ_α G_α
//
// Nothing here allocates inside a training step: every function takes the arrays of an earlier call as its last argument.

// ---- numbers drawn from a seed: a counter and a mixing of its bits (mulberry32), so that Python can draw the same ones

const mix = (a) => { let t = Math.imul(a ^ (a >>> 15), a | 1); t ^= t + Math.imul(t ^ (t >>> 7), t | 61); return (t ^ (t >>> 14)) >>> 0; };

/** Uniform numbers in (0, 1) and normal ones. `stream` keeps what one seed draws for several purposes apart. */
export function generator(seed, stream = 0) {
  let a = mix(mix((seed + 0x9e3779b9) | 0) + stream | 0), spare = null;
  const uniform = () => { a = (a + 0x6d2b79f5) | 0; return (mix(a) + 0.5) / 4294967296; };
  const normal = () => {
    if (spare !== null) { const z = spare; spare = null; return z; }
    const r = Math.sqrt(-2 * Math.log(uniform())), t = 2 * Math.PI * uniform();
    spare = r * Math.sin(t);
    return r * Math.cos(t);
  };
  return { uniform, normal };
}

// ---- hierarchies

/** From nested lists: children[0] is null, children[l][r] names the regions of level l-1 that region r sees. */
export function hierarchy(children) {
  const depth = children.length - 1, regions = children.map((c, l) => (l ? c.length : 1 + Math.max(...children[1].flat())));
  return { depth, regions, fan: children.map((c) => (c ? c[0].length : 0)), children: children.map((c) => c && Int32Array.from(c.flat())),
    isTree: children.every((c, l) => !l || c.flat().length === regions[l - 1]) };
}
const range = (n) => Array.from({ length: n }, (_, i) => i);
export const tree = (depth, branching = 2) => hierarchy([null, ...range(depth).map((l) =>
  range(branching ** (depth - l - 1)).map((r) => range(branching).map((c) => r * branching + c)))]);
/** Overlapping windows, the last of a level moved back to the edge, until one region is left. */
export function pyramid(length, window, stride) {
  const children = [null];
  while (length > 1) {
    const w = Math.min(window, length), starts = [];
    for (let s = 0; s < length - w; s += stride) starts.push(s);
    children.push([...starts, length - w].map((s) => range(w).map((c) => s + c)));
    length = children.at(-1).length;
  }
  return hierarchy(children);
}

// ---- teachers

const flat = (x, Real) => (ArrayBuffer.isView(x) ? Real.from(x) : Real.from(x.flat(Infinity)));

/** From nested lists or flat arrays: prior[l] (R, m), P[l] (R, C, m, m below), features (R_0, m_0, n_0), target (m_L, n_L). */
export function teacher({ hierarchy: h, children, prior, P, features, target, classes }, Real = Float64Array) {
  h ??= hierarchy(children);
  const t = { hierarchy: h, prior: prior.map((p) => flat(p, Real)), P: P.map((p) => p && flat(p, Real)), Real };
  t.states = t.prior.map((p, l) => p.length / h.regions[l]);
  const [m, top] = [t.states[0], t.states[h.depth]], one = (k) => range(k * k).map((i) => +(i % (k + 1) === 0));
  t.features = features ? flat(features, Real) : flat(range(h.regions[0]).map(() => one(m)), Real);
  t.target = flat(target ?? one(top), Real);
  t.classes = classes ?? t.target.length / top;
  t.full = t.prior.map((p) => p.every((x) => x > 0));
  masked(t, 0, t.features, t.features.length / t.prior[0].length);
  masked(t, h.depth, t.target, t.classes);
  // P^b (R, C, m below, m): P(z_α = i | z_β = k) = P(z_α = i) P_αβ[i, k] / P(z_β = k)
  t.reverse = t.P.map((p, l) => p && p.map((_, i) => {
    const [m, k] = [t.states[l], t.states[l - 1]], edge = Math.floor(i / (m * k)), [b, a] = [Math.floor(i / m) % k, i % m];
    const below = t.prior[l - 1][h.children[l][edge] * k + b];
    return below ? t.prior[l][Math.floor(edge / h.fan[l]) * m + a] * p[(edge * m + a) * k + b] / below : 0;
  }));
  return t;
}
/** States handed down edge by edge: kept with probability ρ + (1-ρ)/m, every other state has (1-ρ)/m. */
export function latentTree(h, m = 2, polarity = 0.8, Real = Float64Array) {
  const edge = range(m * m).map((i) => (i % (m + 1) === 0 ? polarity : 0) + (1 - polarity) / m).map((x) => Math.max(x, 0));
  return teacher({ hierarchy: h, prior: h.regions.map((r) => Array(r * m).fill(1 / m)),
    P: h.children.map((c) => c && Array.from(c, () => edge)) }, Real);
}
/** A batch is a teacher: its rows are the states of every region and stay themselves along every edge (P is null).
    inputs (R_0, N, n_0), target (N, classes); on it `expand` and the rest are the network and back-propagation. */
export function rows(h, inputs, target, N, Real = Float64Array, weights = new Real(N).fill(1 / N)) {
  const prior = h.regions.map((r) => { const p = new Real(r * N); for (let i = 0; i < r; i++) p.set(weights, i * N); return p; });
  return { hierarchy: h, prior, P: h.children.map(() => null), states: h.regions.map(() => N), Real, rows: true,
    features: inputs, target, classes: target.length / N, full: h.regions.map(() => true) };
}
function masked(t, l, x, n) {                                     // 0 at states of prior 0
  if (!t.full[l]) t.prior[l].forEach((p, i) => { if (p === 0) x.fill(0, i * n, (i + 1) * n); });
  return x;
}
function draw(p, at, m, u) {                                      // by inverting the cumulative sum; never a state of probability 0
  let k = 0, sum = 0, total = 0;
  for (let i = 0; i < m; i++) total += p[at + i];
  while (k < m - 1 && (u * total >= (sum += p[at + k]) || p[at + k] === 0)) k++;
  while (k && p[at + k] === 0) k--;
  return k;
}
/** n draws of all summaries, from the top down: list by level of codes (R, n). Trees only. */
export function sampleStates(t, n, random, z = t.hierarchy.regions.map((r) => new Int32Array(r * n))) {
  const { hierarchy: h, states } = t;
  for (let i = 0; i < n; i++) z[h.depth][i] = draw(t.prior[h.depth], 0, states[h.depth], random.uniform());
  for (let l = h.depth; l > 0; l--) {
    const m = states[l], k = states[l - 1], C = h.fan[l];
    h.children[l].forEach((b, edge) => {
      const a = Math.floor(edge / C) * n;
      for (let i = 0; i < n; i++) z[l - 1][b * n + i] = draw(t.P[l], (edge * m + z[l][a + i]) * k, k, random.uniform());
    });
  }
  return z;
}
/** A batch of n, as `rows`, with its states z and its labels y; `batch` is refilled if given. */
export function sample(t, n, random, batch = null) {
  const { hierarchy: h, states, classes, Real } = t, width = t.features.length / t.prior[0].length;
  batch ??= Object.assign(rows(h, new Real(h.regions[0] * n * width), new Real(n * classes), n, Real), { y: new Int32Array(n) });
  const z = (batch.z = sampleStates(t, n, random, batch.z));
  batch.target.fill(0);
  for (let i = 0; i < n; i++) batch.target[i * classes + (batch.y[i] = draw(t.target, z[h.depth][i] * classes, classes, random.uniform()))] = 1;
  read(t, z[0], n, width, batch.features);
  return batch;
}
function read(t, z, n, width, out) {                              // the features of the leaves' states
  for (let r = 0; r < t.hierarchy.regions[0]; r++) for (let i = 0; i < n; i++) {
    const from = (r * t.states[0] + z[r * n + i]) * width;
    for (let k = 0; k < width; k++) out[(r * n + i) * width + k] = t.features[from + k];
  }
  return out;
}
/** E[target | leaves] (n, classes) for leaf states z (R_0, n), and P(leaves) (n): messages from the leaves up. Trees only. */
export function posterior(t, z, n) {
  const { hierarchy: h, states, classes } = t, width = t.features.length / t.prior[0].length, out = new Float64Array(n * classes), p = new Float64Array(n);
  const alike = (r, a, b) => { for (let k = 0; k < width; k++) if (t.features[(r * states[0] + a) * width + k] !== t.features[(r * states[0] + b) * width + k]) return 0; return 1; };
  let below = new Float64Array(h.regions[0] * n * states[0]);     // (R, n, m): P(leaves below | state)
  for (let r = 0; r < h.regions[0]; r++) for (let i = 0; i < n; i++) for (let k = 0; k < states[0]; k++) below[(r * n + i) * states[0] + k] = alike(r, k, z[r * n + i]);
  for (let l = 1; l <= h.depth; l++) {
    const m = states[l], k = states[l - 1], C = h.fan[l], here = new Float64Array(h.regions[l] * n * m).fill(1);
    h.children[l].forEach((b, edge) => {
      const r = Math.floor(edge / C);
      for (let i = 0; i < n; i++) for (let a = 0; a < m; a++) {
        let sum = 0;
        for (let j = 0; j < k; j++) sum += t.P[l][(edge * m + a) * k + j] * below[(b * n + i) * k + j];
        here[(r * n + i) * m + a] *= sum;
      }
    });
    below = here;
  }
  const m = states[h.depth];
  for (let i = 0; i < n; i++) {
    for (let a = 0; a < m; a++) p[i] += t.prior[h.depth][a] * below[i * m + a];
    for (let a = 0; a < m; a++) for (let j = 0; j < classes; j++) out[i * classes + j] += t.prior[h.depth][a] * below[i * m + a] * t.target[a * classes + j] / (p[i] || 1);
  }
  return { target: out, p };
}

// ---- ladders: rows with a code for every region

/** Every joint state of a latent tree whose target has one label a state: codes by level (R, N), labels, weights. */
export function enumerate(t) {
  const { hierarchy: h, states } = t, joint = [];
  const visit = (z, p, l, edge) => {
    if (!p) return;
    if (l === 0) { for (let j = 0; j < t.classes; j++) { const q = p * t.target[z[h.depth][0] * t.classes + j]; if (q) joint.push([z.map((x) => [...x]), j, q]); } return; }
    if (edge === h.children[l].length) { visit(z, p, l - 1, 0); return; }
    const a = z[l][Math.floor(edge / h.fan[l])], k = states[l - 1];
    for (let j = 0; j < k; j++) { z[l - 1][h.children[l][edge]] = j; visit(z, p * t.P[l][(edge * states[l] + a) * k + j], l, edge + 1); }
  };
  for (let a = 0; a < states[h.depth]; a++) visit(h.regions.map((r) => Array(r).fill(a)), t.prior[h.depth][a], h.depth, 0);
  const N = joint.length, codes = h.regions.map((r, l) => Int32Array.from({ length: r * N }, (_, i) => joint[i % N][0][l][Math.floor(i / N)]));
  return ladder(t, codes, Int32Array.from(joint, (r) => r[1]), Float64Array.from(joint, (r) => r[2]));
}
/** Rows of a teacher's inputs with codes; `codes` may be coarser than the teacher's states, which `codes[0]` reads. */
export function ladder(t, codes, labels, weights, inputs = null) {
  const { hierarchy: h, classes, Real } = t, N = labels.length, width = t.features.length / t.prior[0].length;
  const target = new Real(N * classes), total = weights.reduce((a, b) => a + b, 0);
  labels.forEach((y, i) => { target[i * classes + y] = 1; });
  inputs ??= read(t, codes[0], N, width, new Real(h.regions[0] * N * width));
  return { ...rows(h, inputs, target, N, Real, Real.from(weights, (w) => w / total)), codes, N, m: codes.map((z) => 1 + z.reduce((a, b) => Math.max(a, b), 0)) };
}
/** E[x | z] at level l: x (R, N, n) -> (R, m, n), 0 where a state never occurs. */
function mean(lad, l, x, n) {
  const { N, m, hierarchy: h } = lad, p = lad.prior[0], out = new lad.Real(h.regions[l] * m[l] * n), mass = new lad.Real(h.regions[l] * m[l]);
  for (let r = 0; r < h.regions[l]; r++) for (let i = 0; i < N; i++) {
    const at = r * m[l] + lad.codes[l][r * N + i];
    mass[at] += p[i];
    for (let k = 0; k < n; k++) out[at * n + k] += p[i] * x[(r * N + i) * n + k];
  }
  return out.map((v, i) => (mass[Math.floor(i / n)] ? v / mass[Math.floor(i / n)] : 0));
}
/** E[f_β | z_α], side by side (R, m, C n): f (R below, N, n). */
function meanAbove(lad, l, f, n) {
  const h = lad.hierarchy, C = h.fan[l], K = C * n, seen = new lad.Real(h.regions[l] * lad.N * K);
  up(lad, l, f, n, seen);
  return mean(lad, l, seen, K);
}
/** The teacher that the rows define, by counting. */
export function counted(lad) {
  const { hierarchy: h, N, m } = lad, one = lad.prior[0], share = (l, x, n) => mean(lad, l, x, n);
  const prior = h.regions.map((R, l) => { const p = new lad.Real(R * m[l]); for (let r = 0; r < R; r++) for (let i = 0; i < N; i++) p[r * m[l] + lad.codes[l][r * N + i]] += one[i]; return p; });
  const P = h.children.map((c, l) => c && (() => {
    const k = m[l - 1], hot = new lad.Real(h.regions[l - 1] * N * k), out = new lad.Real(c.length * m[l] * k);
    lad.codes[l - 1].forEach((z, i) => { hot[i * k + z] = 1; });
    const side = meanAbove(lad, l, hot, k), C = h.fan[l];         // (R, m, C k) -> (R, C, m, k)
    side.forEach((v, i) => { const j = i % k, c2 = Math.floor(i / k) % C, a = Math.floor(i / (k * C)) % m[l], r = Math.floor(i / (k * C * m[l])); out[((r * C + c2) * m[l] + a) * k + j] = v; });
    return out;
  })());
  return teacher({ hierarchy: h, prior, P, features: share(0, lad.features, lad.features.length / (h.regions[0] * N)),
    target: share(h.depth, lad.target, lad.classes), classes: lad.classes }, lad.Real);
}

// ---- students

/** Weights start as normal(0, gain / (C n)), gain 2 under a ReLU and 1 at the top. norm: null or { place: "before" | "after",
    scale: true, eps: 0, top: false } as in tsframe's BatchNorm. A dense network is a student on tree(depth, 1). */
export function student(h, widths, { activation = "relu", norm = null, bias = false, random = null, W = null, b = null } = {}, Real = Float64Array) {
  const each = (make) => h.regions.map((R, l) => (l ? make(l, R) : null));
  norm = norm && { scale: true, eps: 0, top: false, ...norm };
  return { hierarchy: h, widths, activation, norm, Real,
    W: W ? W.map((w) => w && flat(w, Real)) : each((l, R) => {
      const fan = h.fan[l] * widths[l - 1], scale = Math.sqrt((activation === "relu" && l < h.depth ? 2 : 1) / fan);
      return Real.from({ length: R * fan * widths[l] }, () => scale * (random ? random.normal() : 0));
    }),
    b: b ? b.map((x) => x && flat(x, Real)) : each((l, R) => (bias ? new Real(R * widths[l]) : null)) };
}
export const copy = (s) => ({ ...s, W: s.W.map((w) => w && w.slice()), b: s.b.map((x) => x && x.slice()) });

const rounding = (Real) => (64 * (Real === Float32Array ? 2 ** -23 : 2 ** -52)) ** 2;

/** Normalise column j of f (rows, n) under weights p: v = (f - μ) / s. A node that does not move has v = 0, and 1/s = 0 for ε = 0.
    With g, the signal back instead: (g - Σ p g - v Σ p v g) / s. */
function normalise({ scale, eps }, Real, f, at, p, from, rows, n, j, out, g = null) {
  let mu = 0, size = 0, variance = 0, inverse = 1;
  for (let i = 0; i < rows; i++) { const x = f[at + i * n + j]; mu += p[from + i] * x; size += p[from + i] * x * x; }
  if (scale) {
    for (let i = 0; i < rows; i++) variance += p[from + i] * (f[at + i * n + j] - mu) ** 2;
    inverse = eps || variance > rounding(Real) * size ? 1 / Math.sqrt(variance + eps) : 0;
  }
  if (!g) { for (let i = 0; i < rows; i++) out[at + i * n + j] = (f[at + i * n + j] - mu) * inverse; return; }
  let mean = 0, along = 0;
  for (let i = 0; i < rows; i++) mean += p[from + i] * g[at + i * n + j];
  if (scale) for (let i = 0; i < rows; i++) along += p[from + i] * (f[at + i * n + j] - mu) * inverse * (g[at + i * n + j] - mean);
  for (let i = 0; i < rows; i++) out[at + i * n + j] = (g[at + i * n + j] - mean - (scale ? (f[at + i * n + j] - mu) * inverse * along : 0)) * inverse;
}
/** Values v of one node over rows f with weights p, or with g the signal back; as tsframe.BatchNorm's value and back. */
export function batchNorm(f, p, { scale = true, eps = 0 } = {}, g = null) {
  const out = new Float64Array(f.length);
  normalise({ scale, eps }, Float64Array, f, 0, p, 0, f.length, 1, 0, out, g);
  return out;
}
function norms(s, l) {                                            // before and after the gates of level l
  if (!s.norm || (l === s.hierarchy.depth && !s.norm.top)) return [null, null];
  if (l === s.hierarchy.depth) return [{ scale: false }, null];
  return s.norm.place === "before" ? [s.norm, null] : [null, s.norm];
}
function each(norm, s, t, l, f, out, g) {                         // every node of every region of level l
  const m = t.states[l], n = s.widths[l];
  for (let r = 0; r < s.hierarchy.regions[l]; r++) for (let j = 0; j < n; j++) normalise(norm, s.Real, f, r * m * n, t.prior[l], r * m, m, n, j, out, g);
}
/** F and D from H; D is given where `gates` is. */
function activate(s, t, l, H, F, D, gates, spare) {
  const [before, after] = norms(s, l), open = s.activation !== "relu" || l === s.hierarchy.depth;
  let v = H;
  if (before) { each(before, s, t, l, H, spare, null); v = spare; }
  for (let i = 0; i < H.length; i++) { const gate = gates ? gates[i] : open || v[i] > 0 ? 1 : 0; D[i] = gate; F[i] = gate * v[i]; }
  if (after) { spare.set(F); each(after, s, t, l, spare, F, null); }
}
/** G, minus the gradient with respect to H, from U, that with respect to F: the adjoint of `activate`. */
function signal(s, t, l, H, D, U, G, spare) {
  const [before, after] = norms(s, l);
  if (after) {
    for (let i = 0; i < H.length; i++) spare[i] = D[i] * H[i];
    each(after, s, t, l, spare, G, U);
    for (let i = 0; i < H.length; i++) G[i] *= D[i];
  } else for (let i = 0; i < H.length; i++) G[i] = D[i] * U[i];
  if (before) { spare.set(G); each(before, s, t, l, H, G, spare); }
}

// ---- the recursion

/** P F, side by side: x (R below, m below, n) -> out (R, m, C n). */
function up(t, l, x, n, out) {
  const h = t.hierarchy, C = h.fan[l], m = t.states[l], k = t.states[l - 1], K = C * n, P = t.P[l], ch = h.children[l];
  out.fill(0);
  for (let e = 0; e < ch.length; e++) {
    const to = Math.floor(e / C) * m * K + (e % C) * n, from = ch[e] * k * n;
    for (let i = 0; i < m; i++) {
      const o = to + i * K;
      if (!P) { for (let j = 0, a = from + i * n; j < n; j++) out[o + j] = x[a + j]; continue; }
      for (let b = 0; b < k; b++) {
        const p = P[(e * m + i) * k + b], a = from + b * n;
        if (p !== 0) for (let j = 0; j < n; j++) out[o + j] += p * x[a + j];
      }
    }
  }
}
/** P^b y, summed over parents: y side by side (R, m, C n) -> out (R below, m below, n). */
function down(t, l, y, n, out) {
  const h = t.hierarchy, C = h.fan[l], m = t.states[l], k = t.states[l - 1], K = C * n, B = t.reverse?.[l], ch = h.children[l];
  out.fill(0);
  for (let e = 0; e < ch.length; e++) {
    const from = Math.floor(e / C) * m * K + (e % C) * n, to = ch[e] * k * n;
    for (let b = 0; b < k; b++) {
      const o = to + b * n;
      if (!B) { for (let j = 0, a = from + b * K; j < n; j++) out[o + j] += y[a + j]; continue; }
      for (let i = 0; i < m; i++) {
        const p = B[(e * k + b) * m + i], a = from + i * K;
        if (p !== 0) for (let j = 0; j < n; j++) out[o + j] += p * y[a + j];
      }
    }
  }
}
/** seen W (+ b), region by region: seen (R, m, K), W (R, K, n) -> out (R, m, n). */
function weigh(s, l, seen, m, out, bias = s.b[l]) {
  const W = s.W[l], n = s.widths[l], K = s.hierarchy.fan[l] * s.widths[l - 1];
  for (let r = 0; r < s.hierarchy.regions[l]; r++) for (let i = 0; i < m; i++) {
    const o = (r * m + i) * n, a = (r * m + i) * K;
    for (let j = 0; j < n; j++) out[o + j] = bias ? bias[r * n + j] : 0;
    for (let k = 0; k < K; k++) {
      const x = seen[a + k], w = (r * K + k) * n;
      if (x !== 0) for (let j = 0; j < n; j++) out[o + j] += x * W[w + j];
    }
  }
  return out;
}
/** G W^T, side by side: G (R, m, n) -> out (R, m, K). */
function outgoing(s, l, G, m, out) {
  const W = s.W[l], n = s.widths[l], K = s.hierarchy.fan[l] * s.widths[l - 1];
  for (let r = 0; r < s.hierarchy.regions[l]; r++) for (let i = 0; i < m; i++) {
    const g = (r * m + i) * n, o = (r * m + i) * K;
    for (let k = 0; k < K; k++) {
      let sum = 0;
      for (let j = 0, w = (r * K + k) * n; j < n; j++) sum += G[g + j] * W[w + j];
      out[o + k] = sum;
    }
  }
}
/** seen^T Λ G: seen (R, m, K), G (R, m, n), p (R, m) -> out (R, K, n) = (R, C, n below, n). */
function correlate(s, l, seen, G, p, m, out) {
  const n = s.widths[l], K = s.hierarchy.fan[l] * s.widths[l - 1];
  out.fill(0);
  for (let r = 0; r < s.hierarchy.regions[l]; r++) for (let i = 0; i < m; i++) {
    const weight = p[r * m + i], g = (r * m + i) * n, a = (r * m + i) * K;
    if (weight === 0) continue;
    for (let k = 0; k < K; k++) {
      const x = weight * seen[a + k], o = (r * K + k) * n;
      if (x !== 0) for (let j = 0; j < n; j++) out[o + j] += x * G[g + j];
    }
  }
  return out;
}
/** Empty tables of a student on a teacher: F, D, H, G, U (R, m, n), PF and back (R, m, C n below), dW, db. */
export function expansion(s, t) {
  const h = s.hierarchy, by = (size) => h.regions.map((R, l) => (l ? new s.Real(size(l, R)) : null));
  const nodes = () => by((l, R) => R * t.states[l] * s.widths[l]), seen = () => by((l, R) => R * t.states[l] * h.fan[l] * s.widths[l - 1]);
  return { F: nodes(), D: nodes(), H: nodes(), G: nodes(), U: nodes(), spare: nodes(), PF: seen(), back: seen(),
    dW: by((l) => s.W[l].length), db: h.regions.map((R, l) => s.b[l] && new s.Real(R * s.widths[l])) };
}
/** The forward recursion. gates: "mean", D = 1[H > 0], or a list by level of tables D. */
export function expand(s, t, gates = "mean", e = expansion(s, t)) {
  e.F[0] = t.features;
  for (let l = 1; l <= s.hierarchy.depth; l++) {
    up(t, l, e.F[l - 1], s.widths[l - 1], e.PF[l]);
    weigh(s, l, e.PF[l], t.states[l], e.H[l]);
    masked(t, l, e.H[l], s.widths[l]);
    activate(s, t, l, e.H[l], e.F[l], e.D[l], gates === "mean" || l === s.hierarchy.depth ? null : gates[l], e.spare[l]);
    masked(t, l, e.D[l], s.widths[l]);
    masked(t, l, e.F[l], s.widths[l]);
  }
  return e;
}
/** The backward recursion: G and U. */
export function backward(e, s, t) {
  const L = s.hierarchy.depth;
  for (let l = L; l > 0; l--) {
    if (l === L) for (let i = 0; i < e.U[l].length; i++) e.U[l][i] = t.target[i] - e.F[l][i];
    else { outgoing(s, l + 1, e.G[l + 1], t.states[l + 1], e.back[l + 1]); down(t, l + 1, e.back[l + 1], s.widths[l], e.U[l]); }
    signal(s, t, l, e.H[l], e.D[l], e.U[l], e.G[l], e.spare[l]);
    masked(t, l, e.G[l], s.widths[l]);
  }
  return e;
}
/** The expected descent direction, in e.dW. */
export function weightUpdate(e, s, t) {
  for (let l = 1; l <= s.hierarchy.depth; l++) correlate(s, l, e.PF[l], e.G[l], t.prior[l], t.states[l], e.dW[l]);
  return e.dW;
}
/** That of the biases, in e.db. */
export function biasUpdate(e, s, t) {
  for (let l = 1; l <= s.hierarchy.depth; l++) {
    if (!s.b[l]) continue;
    const n = s.widths[l], m = t.states[l];
    e.db[l].fill(0);
    for (let i = 0; i < t.prior[l].length; i++) for (let j = 0; j < n; j++) e.db[l][Math.floor(i / m) * n + j] += t.prior[l][i] * e.G[l][i * n + j];
  }
  return e.db;
}
/** ½ Σ_z P(z_ω) ‖F_ω(z) - target(z)‖²; on a batch the mean of ½ ‖f_ω - e_y‖². */
export function reducedLoss(e, s, t) {
  const L = s.hierarchy.depth, n = s.widths[L];
  let sum = 0;
  for (let i = 0; i < t.prior[L].length; i++) for (let j = 0; j < n; j++) sum += t.prior[L][i] * (e.F[L][i * n + j] - t.target[i * n + j]) ** 2;
  return sum / 2;
}
/** One step of gradient descent on tables or on a batch; returns the loss before it. */
export function descend(s, t, lr, e = expansion(s, t)) {
  backward(expand(s, t, "mean", e), s, t);
  weightUpdate(e, s, t);
  biasUpdate(e, s, t);
  const loss = reducedLoss(e, s, t);
  for (const [x, dx] of [[s.W, e.dW], [s.b, e.db]]) for (let l = 1; l < x.length; l++) if (x[l]) for (let i = 0; i < x[l].length; i++) x[l][i] += lr * dx[l][i];
  return loss;
}

// ---- measured, and taken apart

/** The real network on every row of a ladder, then means given z: F, D, H, G, U, and dW = E[f_k g_j]; below, side by side. */
export function measure(s, lad) {
  const e = backward(expand(s, lad), s, lad), t = { dW: weightUpdate(e, s, lad), db: biasUpdate(e, s, lad), rows: e };
  for (const key of ["F", "D", "H", "G", "U"]) t[key] = e[key].map((x, l) => (l || key === "F" ? mean(lad, l, x, s.widths[l]) : null));
  t.below = e.F.map((_, l) => (l ? meanAbove(lad, l, e.F[l - 1], s.widths[l - 1]) : null));
  return t;
}
const minus = (a, b) => a.map((x, i) => x - b[i]), times = (a, b) => a.map((x, i) => x * b[i]);

/** Truth minus recursion by cause, as tsframe.residuals: { F, G, dW }, lists by level of named parts with their "total". */
export function residuals(s, lad, gates = "mean") {
  const t = measure(s, lad), c = counted(lad), L = s.hierarchy.depth, h = s.hierarchy, out = { F: [null], G: Array(L + 1).fill(null), dW: [null] };
  const r = backward(expand(s, c, gates === "true" ? t.D : gates), s, c);
  weightUpdate(r, s, c);
  const size = (l) => t.F[l].length, table = (l) => new s.Real(size(l)), side = (l) => new s.Real(r.PF[l].length);
  for (let l = 1; l <= L; l++) {
    const n = s.widths[l], k = s.widths[l - 1], m = c.states[l], p = c.prior[l];
    const PF = side(l), error = side(l), corr = (seen, G) => correlate(s, l, seen, G, p, m, new s.Real(s.W[l].length));
    up(c, l, t.F[l - 1], k, PF);
    up(c, l, minus(t.F[l - 1], r.F[l - 1]), k, error);
    const focus = minus(t.below[l], PF), without = (seen) => weigh(s, l, seen, m, table(l), null);
    out.F.push({ gate: minus(t.F[l], times(t.D[l], t.H[l])), focus: times(t.D[l], without(focus)), inherited: times(t.D[l], without(error)),
      "gate table": times(minus(t.D[l], r.D[l]), r.H[l]), total: minus(t.F[l], r.F[l]) });
    out.dW.push({ focus: corr(focus, t.G[l]), decorrelation: minus(t.dW[l], corr(t.below[l], t.G[l])),
      inherited: corr(error, t.G[l]).map(((b) => (x, i) => x + b[i])(corr(r.PF[l], minus(t.G[l], r.G[l])))), total: minus(t.dW[l], r.dW[l]) });
  }
  out.G[L] = { gate: table(L), broadness: table(L), inherited: minus(r.F[L], t.F[L]), "gate table": table(L), total: minus(t.G[L], r.G[L]) };
  for (let l = L - 1; l > 0; l--) {
    const through = (G) => { const y = side(l + 1), u = table(l); outgoing(s, l + 1, G, c.states[l + 1], y); down(c, l + 1, y, s.widths[l], u); return u; };
    out.G[l] = { gate: minus(t.G[l], times(t.D[l], t.U[l])), broadness: times(t.D[l], minus(t.U[l], through(t.G[l + 1]))),
      inherited: times(t.D[l], through(minus(t.G[l + 1], r.G[l + 1]))), "gate table": times(minus(t.D[l], r.D[l]), r.U[l]), total: minus(t.G[l], r.G[l]) };
  }
  return { ...out, measured: t, tables: r, teacher: c };
}

// ---- node correspondence

/** Pearson correlation of the columns of A (N, a) with those of B (N, b), their cosine if not centred: (a, b), 0 for a dead node. */
export function correlation(A, B, N, a, b, centre = true) {
  const means = (X, n) => range(n).map((j) => { let s = 0; for (let i = 0; i < N; i++) s += X[i * n + j]; return centre ? s / N : 0; });
  const [ma, mb] = [means(A, a), means(B, b)], dot = (X, n, i, mx, Y, q, j, my) => { let s = 0; for (let r = 0; r < N; r++) s += (X[r * n + i] - mx[i]) * (Y[r * q + j] - my[j]); return s; };
  const na = range(a).map((i) => Math.sqrt(dot(A, a, i, ma, A, a, i, ma))), nb = range(b).map((j) => Math.sqrt(dot(B, b, j, mb, B, b, j, mb)));
  return Float64Array.from({ length: a * b }, (_, x) => { const [i, j] = [Math.floor(x / b), x % b], d = na[i] * nb[j]; return d ? dot(A, a, i, ma, B, b, j, mb) / d : 0; });
}

// ---- two layers without biases on normal inputs x ~ N(0, I): the twin of tsframe's gaussian. W (n, d), V (n, outputs): row k goes out of node k

const lengths = (W, d) => range(W.length / d).map((k) => Math.hypot(...W.subarray(k * d, (k + 1) * d)));
/** θ between every row of W (n, d) and of U (m, d): (n, m). */
export function angles(W, U, d) {
  const a = lengths(W, d), b = lengths(U, d);
  return Float64Array.from({ length: a.length * b.length }, (_, x) => {
    const k = Math.floor(x / b.length), j = x % b.length;
    let apart = 0, along = 0;
    for (let i = 0; i < d; i++) { const p = W[k * d + i] / a[k], q = U[j * d + i] / b[j]; apart += (p - q) ** 2; along += (p + q) ** 2; }
    return 2 * Math.atan2(Math.sqrt(apart), Math.sqrt(along));
  });
}
/** ΔW_k = Σ_j A_kj M(w_k, w°_j) - Σ_l B_kl M(w_k, w_l),  ΔV = κ(W, W°) V° - κ(W, W) V,  A = V V°^T, B = V V^T. */
export function gaussianUpdate(W, V, W0, V0, d) {
  const dW = new Float64Array(W.length), dV = new Float64Array(V.length), a = lengths(W, d), c = V.length / a.length;
  for (const [U, X, sign] of [[W0, V0, 1], [W, V, -1]]) {
    const b = lengths(U, d), m = b.length, theta = angles(W, U, d);
    for (let k = 0; k < a.length; k++) for (let j = 0; j < m; j++) {
      const t = theta[k * m + j], across = sign * (Math.PI - t) / (2 * Math.PI), along = sign * b[j] * Math.sin(t) / (2 * Math.PI * a[k]);
      const kappa = a[k] * b[j] * (sign * Math.sin(t) / (2 * Math.PI) + across * Math.cos(t));
      let A = 0;
      for (let o = 0; o < c; o++) { A += V[k * c + o] * X[j * c + o]; dV[k * c + o] += kappa * X[j * c + o]; }
      for (let i = 0; i < d; i++) dW[k * d + i] += A * (across * U[j * d + i] + along * W[k * d + i]);
    }
  }
  return { dW, dV };
}
/** One Euler step of the exact flow, in place; rows of W keep their length. */
export function flowStep(W, V, W0, V0, d, step) {
  const { dW, dV } = gaussianUpdate(W, V, W0, V0, d);
  lengths(W, d).forEach((size, k) => {
    const w = W.subarray(k * d, (k + 1) * d), g = dW.subarray(k * d, (k + 1) * d), along = w.reduce((sum, x, i) => sum + x * g[i], 0) / size ** 2;
    for (let i = 0; i < d; i++) w[i] += step * (g[i] - along * w[i]);
    const scale = size / Math.hypot(...w);
    for (let i = 0; i < d; i++) w[i] *= scale;
  });
  for (let i = 0; i < V.length; i++) V[i] += step * dV[i];
}
