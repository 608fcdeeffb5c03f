// The front page's picture, alive: a state drawn at the top travels down the teacher, and the student answers from the leaves.
import { pyramid, student, generator, rows, expansion, expand, descend } from "./engine.js";
import { html, percent, range } from "./draw.js";

const STATES = 3, KEEP = 0.8, BATCH = 64, STEPS = 600, RATE = 0.15, TEST = 2000, PAUSE = 420, SHOWN = [1, 1], NS = "http://www.w3.org/2000/svg";

/** n draws, from the top down: each region asks one of its parents and mostly repeats its state. z (R, n), asked: the edge taken. */
function told(h, n, g) {
  const z = h.regions.map((R) => new Int32Array(R * n)), asked = h.regions.map((R) => new Int32Array(R * n)), pick = (m) => Math.floor(g.uniform() * m);
  for (let i = 0; i < n; i++) z[h.depth][i] = pick(STATES);
  for (let l = h.depth; l > 0; l--) for (let b = 0; b < h.regions[l - 1]; b++) {
    const edges = range(h.children[l].length).filter((e) => h.children[l][e] === b);
    for (let i = 0; i < n; i++) {
      const e = edges[pick(edges.length)], a = Math.floor(e / h.fan[l]);
      asked[l - 1][b * n + i] = e;
      z[l - 1][b * n + i] = g.uniform() < KEEP ? z[l][a * n + i] : pick(STATES);
    }
  }
  return { z, asked, n };
}
function batch(h, { z, n }) {
  const hot = (codes) => { const x = new Float64Array(codes.length * STATES); codes.forEach((k, i) => { x[i * STATES + k] = 1; }); return x; };
  return rows(h, hot(z[0]), hot(z[h.depth]), n);
}
const answer = (f, i) => range(STATES).reduce((k, j) => (f[i * STATES + j] > f[i * STATES + k] ? j : k), 0);

/** Make the picture in `root` answer; its squares, circles and edges stand in the order in which hero.py draws them. */
export function hero(root) {
  const h = pyramid(7, 3, 2), all = (css) => [...root.querySelectorAll(css)], calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const squares = all("rect.tn,rect.tf"), rims = all("circle.s0"), cells = all("rect.cell"), lines = { t: all("path.te"), s: all("path.se") }, links = all("line.c");
  all("circle.sn").forEach((e) => e.remove());
  const fills = rims.map((rim) => { const c = document.createElementNS(NS, "circle"); for (const k of ["cx", "cy", "r"]) c.setAttribute(k, rim.getAttribute(k)); c.setAttribute("class", "sn"); c.style.fillOpacity = 0; rim.after(c); return c; });
  const tray = (l, r) => 3 * (h.regions.slice(0, l).reduce((a, b) => a + b, 0) + r), table = 3 * h.regions.reduce((a, b) => a + b, 0);
  const edge = (l, e) => (l === 2 ? e : h.children[2].length + e), level = (l) => range(h.children[l].length).map((e) => edge(l, e));

  const g = generator(11), fresh = generator(2, 7), net = student(h, [STATES, 3, STATES], { random: generator(1) }), space = expansion(net, { states: h.regions.map(() => BATCH) });
  let right = 0, draws = 0, timer = 0, known = null;
  for (let i = 0; i < STEPS; i++) descend(net, batch(h, told(h, BATCH, g)), RATE, space);
  {                                                               // what it has learned: its table F, and how often it is right
    const t = told(h, TEST, g), e = expand(net, batch(h, t)), [l, r] = SHOWN, F = range(9).map(() => 0), count = range(3).map(() => 0);
    for (let i = 0; i < TEST; i++) { const z = t.z[l][r * TEST + i]; count[z]++; for (let k = 0; k < 3; k++) F[3 * z + k] += e.F[l][(r * TEST + i) * 3 + k]; }
    const most = h.regions.map((R, d) => (d ? Math.max(1e-9, ...e.F[d]) : 1));
    known = { share: range(TEST).filter((i) => answer(e.F[2], i) === t.z[2][i]).length / TEST, most, F: F.map((v, i) => v / count[Math.floor(i / 3)]) };
    const top = Math.max(...known.F);
    cells.forEach((c, i) => { c.style.fillOpacity = known.F[i] / top; });
  }
  const out = html("output"), button = html("button", { type: "button", textContent: "Draw a state" });
  out.setAttribute("aria-live", "polite");
  root.append(html("div", { className: "answer" }, button, out));

  const fill = (at, k) => range(3).forEach((j) => squares[at + j].setAttribute("class", j === k ? "tf" : "tn"));
  const glow = (at, values, most) => values.forEach((v, j) => { fills[at + j].style.fillOpacity = Math.max(0, Math.min(1, v / most)).toFixed(3); });
  const light = (list, on) => { for (const e of Object.values(lines).flat()) e.classList.remove("on"); for (const i of on) list[i].classList.add("on"); };
  function play() {
    clearTimeout(timer);
    const t = told(h, 1, fresh), e = expand(net, batch(h, t)), z = t.z.map((c) => [...c]), said = answer(e.F[2], 0), truth = z[2][0], same = z[0].filter((k) => k === truth).length;
    range(3).forEach((l) => range(h.regions[l]).forEach((r) => { fill(tray(l, r), -1); glow(tray(l, r), [0, 0, 0], 1); }));
    fill(table, -1);
    glow(table, [0, 0, 0], 1);
    links.forEach((c) => c.classList.remove("lit"));
    draws++;
    right += said === truth;
    const activity = (l) => range(h.regions[l]).forEach((r) => glow(tray(l, r), [0, 1, 2].map((k) => e.F[l][r * 3 + k]), known.most[l]));
    const states = (l) => range(h.regions[l]).forEach((r) => fill(tray(l, r), z[l][r]));
    const scenes = [
      () => { states(2); light(lines.t, []); },
      () => { states(1); light(lines.t, [...t.asked[1]].map((i) => edge(2, i))); fill(table, z[1][1]); },
      () => { states(0); light(lines.t, [...t.asked[0]].map((i) => edge(1, i))); },
      () => { activity(0); light(lines.s, []); links.forEach((c) => c.classList.add("lit")); },
      () => { activity(1); light(lines.s, level(1)); glow(table, [0, 1, 2].map((k) => e.F[1][3 + k]), known.most[1]); },
      () => { activity(2); light(lines.s, level(2)); },
      () => { light(lines.t, []); links.forEach((c) => c.classList.remove("lit")); out.textContent = `State ${truth + 1} was drawn at the top; ${same} of 7 leaves repeat it. The student, which sees the leaves only, answers ${said + 1}. Right so far: ${right} of ${draws}; of ${TEST.toLocaleString("en")} other draws ${percent(known.share)}.`; root.dataset.state = "still"; },
    ];
    root.dataset.state = "running";
    const next = (i) => { scenes[i](); if (i + 1 < scenes.length) { if (calm) next(i + 1); else timer = setTimeout(next, i === 0 ? 1.6 * PAUSE : PAUSE, i + 1); } };
    next(0);
  }
  button.onclick = play;
  root.explorer = { answers: known.share };
  if (!calm) timer = setTimeout(play, 900);
}
