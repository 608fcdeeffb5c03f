// What all explorers share: controls, the clock of a run, the read-out, the link that holds a state, and the way to Python.
//
// An explorer is an object of functions:  start(settings, given) -> run;  step(run) -> whether it goes on (only where
// there is much to do; paced: false leaves out Play and Step);  draw(run, pictures);  say(run) -> parts of a sentence, the marked ones in arrays;
// python(settings) -> code;  results(run) -> what Python may read;  pictures: their heights.
import { html, number, Picture } from "./draw.js";

const BUDGET = 8;                                                 // milliseconds of work a frame: the page never waits
const SPEEDS = { slow: 1, medium: 6, fast: Infinity };            // steps a frame

/** The value that a text stands for, or undefined: nothing outside a dial's own values passes. */
export function parse(dial, text) {
  if (typeof text !== "string") return undefined;
  if (dial.values) return dial.values.find((v) => String(v) === text);
  if (!/^-?\d{1,7}(\.\d{1,7})?$/.test(text)) return undefined;
  return snap(dial, Number(text));
}
function snap(dial, v) {
  if (!(v >= dial.least - 1e-9 && v <= dial.most + 1e-9)) return undefined;
  const decimals = (String(dial.step).split(".")[1] ?? "").length;
  return Number((dial.least + Math.round((v - dial.least) / dial.step) * dial.step).toFixed(decimals + 2));
}
/** The settings that the page's address holds for an explorer, over its start values. */
export function linked(spec, search) {
  const query = new URLSearchParams(search), out = {};
  for (const dial of spec.dials) out[dial.key] = parse(dial, query.get(`${spec.name}.${dial.key}`)) ?? dial.start;
  return out;
}
export function link(spec, settings, href) {
  const url = new URL(href);
  for (const dial of spec.dials) url.searchParams.set(`${spec.name}.${dial.key}`, settings[dial.key]);
  url.hash = `explorer-${spec.name}`;
  return url.href;
}
const shown = (dial, v) => (typeof v === "number" && v !== 0 && Math.abs(v) < 0.001 ? number(v) : typeof v === "number" ? v.toLocaleString("en", { minimumFractionDigits: dial.values ? 0 : (String(dial.step).split(".")[1] ?? "").length }).replace("-", "−") : v);

function control(dial, value, changed) {
  if (dial.values && typeof dial.values[0] === "string") {
    const select = html("select", { onchange: () => changed(select.value) }, ...dial.values.map((v) => html("option", { value: v, textContent: v })));
    return { node: html("label", {}, html("span", { textContent: dial.label }), select), input: select, show: (v) => { select.value = v; } };
  }
  if (dial.kind === "seed") {
    const input = html("input", { type: "number", min: dial.least, max: dial.most, step: 1, onchange: () => changed(snap(dial, input.valueAsNumber)) });
    return { node: html("label", { className: "seed" }, html("span", { textContent: dial.label }), input), input, show: (v) => { input.value = v; } };
  }
  const [least, most, step] = dial.values ? [0, dial.values.length - 1, 1] : [dial.least, dial.most, dial.step];
  const b = html("b"), input = html("input", { type: "range", min: least, max: most, step });
  input.oninput = () => changed(dial.values ? dial.values[input.value] : snap(dial, input.valueAsNumber));
  return { node: html("label", {}, html("span", {}, dial.label, b), input), input,
    show: (v) => { input.value = dial.values ? dial.values.indexOf(v) : v; b.textContent = shown(dial, v); input.setAttribute("aria-valuetext", shown(dial, v)); } };
}

/** Make `root` an explorer. model: an anywidget's, which takes the place of the page's address. Returns a function that removes it. */
export function mount(root, explorer, spec, model = null) {
  const settings = model ? Object.fromEntries(spec.dials.map((d) => [d.key, model.get(d.key)])) : linked(spec, location.search);
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches, runs = !!explorer.step;
  const pictures = explorer.pictures.map((height) => new Picture(height)), out = html("output"), controls = {};
  let run = null, running = false, frame = 0, rate = Infinity, told = 0, silent = true, given = model?.get("_given") ?? null;

  for (const dial of spec.dials) controls[dial.key] = control(dial, settings[dial.key], (v) => change({ [dial.key]: v }));
  const button = (text, onclick) => html("button", { type: "button", textContent: text, onclick });
  const stop = () => { pause(); paint(); tell(); root.dataset.state = "still"; };
  const play = button("Play", () => (running ? stop() : go(SPEEDS[speed.value])));
  const step = button("Step", () => { pause(); if (over()) begin(); advance(1, Infinity); stop(); });
  const speed = html("select", { onchange: () => { if (running) rate = SPEEDS[speed.value]; } }, ...Object.keys(SPEEDS).map((v) => html("option", { value: v, textContent: v })));
  speed.value = "medium";
  const again = button("Draw again", () => change({ seed: (settings.seed + 1) % 1000 }));
  const reset = button("Reset", () => change(Object.fromEntries(spec.dials.map((d) => [d.key, d.start]))));
  const share = button("Copy link", async () => {
    const href = link(spec, settings, location.href);
    try { history.replaceState(history.state, "", href); } catch { /* an address that may not change: the clipboard is enough */ }
    let said = "Copied";
    try { await navigator.clipboard.writeText(href); } catch { said = "Link is in the address bar"; }
    share.textContent = said;
    setTimeout(() => { share.textContent = "Copy link"; }, 2500);
  });
  const code = html("code"), cell = html("details", { className: "python" }, html("summary", { textContent: "Open in Python" }),
    html("pre", { tabIndex: 0 }, code), button("Copy code", async (e) => { try { await navigator.clipboard.writeText(code.textContent); e.target.textContent = "Copied"; } catch { getSelection().selectAllChildren(code); e.target.textContent = "Selected"; } setTimeout(() => { e.target.textContent = "Copy code"; }, 2500); }));
  const buttons = html("div", { className: "buttons" }, ...(runs && explorer.paced !== false ? [play, step, html("label", { className: "speed" }, html("span", { textContent: "speed" }), speed)] : []),
    ...("seed" in settings ? [again] : []), reset, ...(model ? [] : [share]));
  out.setAttribute("aria-live", "polite");

  const over = () => run === null || run.over;
  function begin() {
    try { run = explorer.start(settings, given); } catch (error) { run = { over: true, failed: error.message }; }
  }
  function advance(most, until) {                                  // what is pending after a piece of work belongs to the same step
    for (let n = 0; n < most && !run.over && performance.now() < until; n += run.pending ? 0 : 1) run.over = !explorer.step(run);
  }
  function go(pace) {
    if (over()) begin();
    [running, rate] = [true, pace];
    play.textContent = "Pause";
    root.dataset.state = "running";
    out.setAttribute("aria-live", "off");
    frame ||= requestAnimationFrame(tick);
  }
  function pause() {
    [running, silent] = [false, false];
    play.textContent = "Play";
    out.setAttribute("aria-live", "polite");
    if (model && run && !run.failed && explorer.results) { model.set("_result", explorer.results(run)); model.save_changes(); }
  }
  function tick(now) {
    frame = 0;
    if (!running) return;
    advance(rate, performance.now() + BUDGET);
    if (over()) pause();
    if (!silent || !running) paint();                              // the first run of a page is not shown until it is over
    if (now - told > 250 || !running) { told = now; tell(); }
    if (running) frame = requestAnimationFrame(tick); else root.dataset.state = "still";
  }
  function paint() {
    for (const dial of spec.dials) { controls[dial.key].show(settings[dial.key]); controls[dial.key].input.disabled = dial.makes && given !== null; }
    if (!run.failed) explorer.draw(run, pictures); else pictures.forEach((p) => p.clear(run.failed));
    if (still?.isConnected) still.replaceWith(view);
  }
  function tell() {
    const parts = run.failed ? [run.failed] : explorer.say(run);
    out.replaceChildren(...parts.map((p) => (Array.isArray(p) ? html("b", { textContent: p[0] }) : p)));
    code.textContent = explorer.python(settings, given !== null);
  }
  function restart() {
    begin();
    if (runs && !run.failed) { go(Infinity); return; }
    pause();
    paint();
    tell();
    root.dataset.state = "still";
  }
  function change(values) {
    for (const [k, v] of Object.entries(values)) if (v !== undefined) settings[k] = v;
    if (model) { for (const k in values) model.set(k, settings[k]); model.save_changes(); }
    silent = calm;
    restart();
    for (const dial of spec.dials) controls[dial.key].show(settings[dial.key]);
  }

  const heard = [];
  if (model) {
    const hear = (event, f) => { model.on(event, f); heard.push([event, f]); };
    for (const { key } of spec.dials) hear(`change:${key}`, () => { if (model.get(key) !== settings[key]) { settings[key] = model.get(key); restart(); } });
    hear("change:_given", () => { given = model.get("_given"); restart(); });
  }
  const view = html("div", { className: "picture" }, ...pictures.map((p) => p.node)), still = root.querySelector(".picture");
  const panel = html("div", { className: "controls" }, ...spec.dials.map((d) => controls[d.key].node), buttons);
  out.textContent = root.querySelector("output")?.textContent ?? "";
  root.replaceChildren(still ?? view, out, panel, cell);           // the picture that came with the page stays until there is a new one
  root.explorer = { settings, set: change, results: () => explorer.results(run) };      // for the console, and for tests
  root.dataset.state = "running";
  restart();
  for (const dial of spec.dials) controls[dial.key].show(settings[dial.key]);
  return () => { running = false; cancelAnimationFrame(frame); for (const [e, f] of heard) model.off(e, f); root.replaceChildren(); };
}
