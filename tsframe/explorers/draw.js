// Pictures of the explorers: SVG in the page's own colours, with the book's marks. A square is the teacher, a circle the
// student, a line is theory, a diamond a measurement, a cross a counter-example.

const NS = "http://www.w3.org/2000/svg";
/** tsframe.plots.INK: fall-backs where the page has no tokens, such as in Jupyter. */
export const INK = { teacher: "#2f62d9", student: "#a35c00", theory: "#43107a", measure: "#005539", warn: "#c4187c", ink: "#1d2025", quiet: "#62666d",
  line: "#868b94", hair: "#dcdcd8", paper: "#ffffff", wash: "#f5f4f0", table: "#1d51b6", active: "#864508", neg: "#7138af", pos: "#006346", num: "#010101", num2: "#fefefe" };
export const ink = (role) => `var(--${role},${INK[role]})`;

/** An HTML element with properties and children; text is always text, never markup. */
export const html = (tag, props = {}, ...kids) => { const e = Object.assign(document.createElement(tag), props); e.append(...kids); return e; };

/** A number as the book writes it: a true minus, no minus zero, powers of ten for the very small. */
export function number(v, digits = 3, signed = false) {
  if (!Number.isFinite(v)) return "not finite";
  if (v !== 0 && Math.abs(v) < 0.5 * 10 ** -digits) {
    const [a, b] = v.toExponential(0).split("e");
    return `${a.replace("-", "−")} × 10${[...String(+b)].map((c) => ({ "-": "⁻" }[c] ?? "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("")}`;
  }
  const text = v.toFixed(digits).replace("-", "−");
  return (signed && v > 0 ? "+" : "") + (Number(v.toFixed(digits)) === 0 ? text.replace("−", "") : text);
}
export const percent = (v, digits = 0) => number(100 * v, digits) + "%";
export const words = (n, one, many = one + "s") => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
const round = (v) => Math.round(v * 100) / 100;

/** One picture, 320 units wide. Everything that is drawn between two `clear`s is what it shows. */
export class Picture {
  constructor(height = 218) {
    this.height = height;
    this.node = document.createElementNS(NS, "svg");
    this.node.setAttribute("viewBox", `0 0 320 ${height}`);
    this.node.setAttribute("role", "img");
  }
  clear(label) { this.node.replaceChildren(); this.node.setAttribute("aria-label", label); return this; }
  add(tag, attributes, text) {
    const e = document.createElementNS(NS, tag);
    for (const [k, v] of Object.entries(attributes)) if (v != null) e.setAttribute(k, typeof v === "number" ? round(v) : v);
    if (text != null) e.textContent = text;
    this.node.append(e);
    return e;
  }
  text(x, y, text, role = "ink", anchor = "start", more = {}) { return this.add("text", { x, y, "text-anchor": anchor, style: `fill:${ink(role)}`, ...more }, text); }
  path(points, role, { width = 2, dash = null, fill = "none", opacity = null, close = false } = {}) {
    if (points.length) this.add("path", { d: points.map(([x, y], i) => `${i ? "L" : "M"}${round(x)} ${round(y)}`).join("") + (close ? "Z" : ""), fill, opacity,
      stroke: role === "none" ? "none" : ink(role), "stroke-width": width, "stroke-dasharray": dash, "stroke-linejoin": "round" });
  }
  rule(x1, y1, x2, y2, role = "line", width = 0.8, dash = null, opacity = null) { this.add("line", { x1, y1, x2, y2, stroke: ink(role), "stroke-width": width, "stroke-dasharray": dash, opacity }); }
  square(x, y, a, filled = true, role = "teacher") { this.add("rect", { x: x - a / 2, y: y - a / 2, width: a, height: a, fill: filled ? ink(role) : ink("paper"), stroke: ink(role), "stroke-width": 1.5 }); }
  circle(x, y, r = 3.6, share = 1, role = "student") {
    this.add("circle", { cx: x, cy: y, r, fill: share === 1 ? ink(role) : ink("paper"), stroke: ink(role), "stroke-width": 1.5 });
    if (share > 0 && share < 1) this.add("circle", { cx: x, cy: y, r, fill: ink(role), "fill-opacity": share });
  }
  diamond(x, y, a = 5, role = "measure") { this.add("path", { d: `M${round(x)} ${round(y - a)}l${a} ${a}-${a} ${a}-${a}-${a}z`, fill: ink("paper"), stroke: ink(role), "stroke-width": 1.8 }); }
  cross(x, y, a = 5) { this.add("path", { d: `M${round(x - a)} ${round(y - a)}l${2 * a} ${2 * a}m0 ${-2 * a}l${-2 * a} ${2 * a}`, stroke: ink("warn"), "stroke-width": 2.2, fill: "none" }); }
  /** A table of numbers, one colour at opacity |v| / top: "table" for probabilities, "active" for values >= 0, "signed". */
  table(M, x, y, cell, role = "table", { top = null, digits = 2, rows = [], cols = [], height = cell } = {}) {
    top ??= role === "table" ? 1 : Math.max(1e-12, ...M.flat().map(Math.abs));
    M.forEach((row, i) => row.forEach((v, j) => {
      const o = Math.min(1, Math.round(20 * Math.abs(v) / top) / 20), colour = role === "signed" ? (v < 0 ? "neg" : "pos") : role;
      this.add("rect", { x: x + j * cell, y: y + i * height, width: cell, height, fill: ink(colour), "fill-opacity": o, stroke: ink("hair"), "stroke-width": 0.6 });
      if (cell >= 26) this.text(x + (j + 0.5) * cell, y + (i + 0.5) * height + 4, number(v, digits, role === "signed"), o > 0.8 ? "num2" : "num", "middle", { class: "small" });
    }));
    rows.forEach((t, i) => this.text(x - 5, y + (i + 0.5) * height + 4, t, "quiet", "end", { class: "small" }));
    cols.forEach((t, j) => this.text(x + (j + 0.5) * cell, y - 5, t, "quiet", "middle", { class: "small" }));
  }
  /** A table of many small cells without numbers: values in [-1, 1] as ten shades, each of them one path; equal neighbours are one. */
  shade(M, x, y, width, height, pos = "pos", neg = "neg") {
    const paths = {}, key = (v) => `${v < 0 ? neg : pos} ${Math.round(10 * Math.min(1, Math.abs(v)))}`;
    M.forEach((row, i) => { for (let j = 0, k = 0; j < row.length; j = k) {
      while (k < row.length && key(row[k]) === key(row[j])) k++;
      paths[key(row[j])] = `${paths[key(row[j])] ?? ""}M${round(x + j * width)} ${round(y + i * height)}h${round((k - j) * width)}v${round(height)}h${round((j - k) * width)}z`;
    } });
    for (const [k, d] of Object.entries(paths)) { const [role, o] = k.split(" "); if (o !== "0") this.add("path", { d, style: `fill:${ink(role)}`, "fill-opacity": o / 10 }); }
  }
  /** Axes from values to places; then line, diamonds and the rest in values. */
  chart(options) { return new Chart(this, options); }
}

class Chart {
  constructor(picture, { x, y, logx = false, logy = false, left = 42, right = 308, top = 26, bottom = picture.height - 38, xlabel = "", ylabel = "", xticks = null, yticks = null, xnames = String, ynames = String, grid = true }) {
    Object.assign(this, { p: picture, left, right, top, bottom, logx, logy, xr: x, yr: y });
    for (const v of yticks ?? []) {
      if (grid) picture.rule(left, this.Y(v), right, this.Y(v), "hair");
      picture.text(left - 6, this.Y(v) + 4.5, ynames(v), "ink", "end");
    }
    picture.rule(left, bottom, right, bottom, "line", 1);
    for (const v of xticks ?? []) { picture.rule(this.X(v), bottom, this.X(v), bottom + 4, "line", 1); picture.text(this.X(v), bottom + 17, xnames(v), "ink", "middle"); }
    picture.text(right, bottom + 32, xlabel, "quiet", "end");
    picture.text(0, 13, ylabel, "quiet");
  }
  X(v) { const [a, b] = this.xr, f = this.logx ? Math.log : (u) => u; return this.left + (f(v) - f(a)) / (f(b) - f(a)) * (this.right - this.left); }
  Y(v) { const [a, b] = this.yr, f = this.logy ? Math.log : (u) => u, t = (f(this.logy ? Math.max(v, a / 10) : v) - f(a)) / (f(b) - f(a)); return this.bottom - Math.max(-0.04, Math.min(1.06, t)) * (this.bottom - this.top); }
  line(xs, ys, role = "theory", style = {}) { this.p.path(xs.map((x, i) => [this.X(x), this.Y(ys[i])]), role, { width: 2.2, ...style }); }
  level(y, role = "quiet", dash = "1.5 3") { this.p.rule(this.left, this.Y(y), this.right, this.Y(y), role, 1.4, dash); }
  upright(x, role = "quiet", dash = "1.5 3") { this.p.rule(this.X(x), this.top, this.X(x), this.bottom, role, 1.2, dash); }
  bar(x, low, high, role) { this.p.rule(this.X(x), this.Y(low), this.X(x), this.Y(high), role, 1.5); }
  out(y) { const [a, b] = this.yr; return !(y <= b + (b - a) * 0.03); }        // above the frame: not drawn
  diamonds(xs, ys, low = null, high = null, role = "measure", size = 5) { xs.forEach((x, i) => { if (this.out(ys[i])) return; if (low) this.bar(x, low[i], high[i], role); this.p.diamond(this.X(x), this.Y(ys[i]), size, role); }); }
  circles(xs, ys, low = null, high = null) { xs.forEach((x, i) => { if (this.out(ys[i])) return; if (low) this.bar(x, low[i], high[i], "student"); this.p.circle(this.X(x), this.Y(ys[i]), 4.2); }); }
  crosses(xs, ys, low = null, high = null, size = 4.5) { xs.forEach((x, i) => { if (this.out(ys[i])) return; if (low) this.bar(x, low[i], high[i], "warn"); this.p.cross(this.X(x), this.Y(ys[i]), size); }); }
  label(x, y, text, role, anchor = "start", dx = 0, dy = 0) { this.p.text(this.X(x) + dx, this.Y(y) + 4 + dy, text, role, anchor, { class: "halo" }); }
}

/** Where the regions of a hierarchy stand: place(l, r) -> [x, y], the top above. */
export function places(h, { left = 8, right = 312, top = 20, bottom = 180 } = {}) {
  const x = [range(h.regions[0]).map((r) => left + (r + 0.5) / h.regions[0] * (right - left))];
  for (let l = 1; l <= h.depth; l++) x.push(range(h.regions[l]).map((r) => {
    const seen = Array.from(h.children[l].subarray(r * h.fan[l], (r + 1) * h.fan[l]), (b) => x[l - 1][b]);
    return seen.reduce((a, b) => a + b) / seen.length;
  }));
  return (l, r) => [x[l][r], bottom - l / h.depth * (bottom - top)];
}
/** A round number at or above v, and how to write halves of it. */
export const ceiling = (v) => [0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.6, 2, 3, 4, 6, 8, 10].find((u) => u >= v) ?? 10;
export const range = (n) => Array.from({ length: n }, (_, i) => i);
export const average = (xs) => xs.reduce((a, b) => a + b, 0) / xs.length;
/** Mean, standard deviation, smallest and largest. */
export function spread(xs) {
  const mean = average(xs);
  return { mean, sd: Math.sqrt(xs.reduce((a, b) => a + (b - mean) ** 2, 0) / Math.max(1, xs.length - 1)), low: Math.min(...xs), high: Math.max(...xs) };
}
