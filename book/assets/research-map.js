// The research map, made interactive: the picture and the list (both in the page, see _ext/researchmap.py) become one.
// The list is the way in for keyboards and screen readers; the picture only shows what is chosen there, too.
(() => {
  const map = d3.select(".map");
  if (map.empty()) return;
  const svg = map.select("svg.graph"), view = svg.select(".view"), picture = map.select(".picture");
  const { width, height } = svg.node().viewBox.baseVal;
  const quick = matchMedia("(prefers-reduced-motion: reduce)");
  const moving = (what) => quick.matches ? what : what.transition().duration(300);

  // ---- what is drawn: works by key, each with its place, and the lines between them
  const works = Object.create(null), near = {};
  view.selectAll(".work").each(function () {
    const [x, y] = this.getAttribute("transform").match(/-?[\d.]+/g).map(Number);
    works[this.dataset.key] = { key: this.dataset.key, x, y, home: [x, y], title: this.querySelector("title").textContent };
    near[this.dataset.key] = new Set([this.dataset.key]);
    this.querySelector("title").remove();                      // the map's own tip says it sooner
  });
  const marks = view.selectAll(".work").datum(function () { return works[this.dataset.key]; });
  const lines = view.selectAll(".line").datum(function () { return [works[this.dataset.old], works[this.dataset.new]]; });
  lines.each(([a, b]) => { near[a.key].add(b.key); near[b.key].add(a.key); });
  const place = () => {
    const turn = (w) => w.x + 0.7 * (width / 2 - w.x);
    marks.attr("transform", (w) => `translate(${w.x},${w.y})`);
    lines.attr("d", ([a, b]) => `M${a.x} ${a.y}C${turn(a)} ${a.y} ${turn(b)} ${b.y} ${b.x} ${b.y}`);
  };

  // ---- the list: each name becomes a button; details are shown in one card
  map.classed("live", true);
  const items = map.selectAll(".works li").datum(function () { return works[this.dataset.key]; });
  items.select(".name").each(function () {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "name";
    button.append(...this.childNodes);
    this.replaceWith(button);
  });
  const buttons = items.select("button");
  map.select(".works").attr("role", "group").attr("aria-label", "Works on the map");
  const card = map.insert("div", ".picture").attr("class", "chosen").attr("role", "region")
    .attr("aria-live", "polite").attr("aria-label", "Details of the chosen work");

  let chosen;
  const choose = (w) => {
    chosen = w;
    buttons.attr("aria-pressed", (v) => v === w);
    marks.classed("on", (v) => v === w).classed("dim", (v) => !near[w.key].has(v.key));
    lines.classed("on", ([a, b]) => a === w || b === w).classed("dim", ([a, b]) => a !== w && b !== w);
    const item = items.filter((v) => v === w).node();
    const title = Object.assign(document.createElement("p"), { className: "title", textContent: w.title });
    card.node().replaceChildren(title, ...[...item.querySelector(".about").children].map((e) => e.cloneNode(true)));
    card.attr("data-kind", item.className);
    const box = map.select(".works").node();                   // where the list scrolls by itself, keep the name in sight
    if (box.scrollHeight > box.clientHeight) {
      const from = item.getBoundingClientRect().top - box.getBoundingClientRect().top;
      if (from < 0 || from + item.offsetHeight > box.clientHeight) box.scrollTop += from - box.clientHeight / 3;
    }
    if (scale() > 1) moving(svg).call(zoom.translateTo, w.x, w.y);
  };

  const narrow = matchMedia("(max-width: 600px)");             // there the list opens below the name instead
  const open = (w) => items.classed("open", (v) => v === w);
  const reveal = () => card.node().scrollIntoView({ block: "nearest", behavior: quick.matches ? "auto" : "smooth" });

  // ---- the title of a work under the pointer, or of the name that has the focus
  const tip = picture.append("div").attr("class", "tip").attr("aria-hidden", "true").property("hidden", true);
  const show = (w) => {
    marks.classed("hover", (v) => v === w);
    tip.property("hidden", false).text(w.title);
    const frame = picture.node().getBoundingClientRect();
    const at = marks.filter((v) => v === w).select("path,rect").node().getBoundingClientRect();
    const { offsetWidth: wide, offsetHeight: high } = tip.node();
    const left = (at.left + at.right - wide) / 2 - frame.left, below = at.bottom - frame.top + 10;
    const most = svg.node().getBoundingClientRect().height;
    tip.style("left", `${Math.max(0, Math.min(frame.width - wide, left))}px`)
      .style("top", `${below + high > most ? at.top - frame.top - high - 10 : below}px`);
  };
  const hide = () => { marks.classed("hover", false); tip.property("hidden", true); };
  marks.on("pointerenter", (event, w) => event.pointerType === "mouse" && show(w)).on("pointerleave", hide)
    .on("click", (event, w) => { choose(w); open(null); reveal(); });
  buttons.on("focus", function (event, w) { if (this.matches(":focus-visible")) show(w); }).on("blur", hide)
    .on("pointerenter", (event, w) => event.pointerType === "mouse" && show(w)).on("pointerleave", hide)
    .on("click", (event, w) => { choose(w); open(w); if (!narrow.matches) reveal(); });
  map.on("keydown", (event) => { if (event.key === "Escape") hide(); });

  // ---- drag a work; zoom by the buttons, by two fingers or by Ctrl and the wheel; reset
  marks.call(d3.drag().clickDistance(4)
    .on("start", hide)
    .on("drag", function (event, w) {
      this.parentNode.append(this);
      w.x = Math.max(10, Math.min(width - 10, event.x));
      w.y = Math.max(10, Math.min(height - 10, event.y));
      place();
    }));
  const scale = () => d3.zoomTransform(svg.node()).k;
  let goal = 1;                                                // where the buttons' zoom is going
  const zoom = d3.zoom().scaleExtent([1, 4]).translateExtent([[0, 0], [width, height]])
    .filter((event) => event.type === "wheel" ? event.ctrlKey
      : event.type === "touchstart" ? event.touches.length > 1 || scale() > 1 : !event.button)
    .on("zoom", ({ transform }) => {
      hide();
      view.attr("transform", transform);
      svg.classed("near", transform.k > 1);
      bar.select(".in").property("disabled", transform.k >= 4);
      bar.select(".out").property("disabled", transform.k <= 1);
    })
    .on("end", ({ transform }) => { goal = transform.k; });
  const bar = picture.append("div").attr("class", "bar").attr("role", "group").attr("aria-label", "View of the map");
  const button = (name, text, label, act) => bar.append("button").attr("type", "button").attr("class", name)
    .attr("aria-label", label).text(text).on("click", act);
  const by = (factor) => () => {                               // about the chosen work, as long as it is in view
    const at = d3.zoomTransform(svg.node()).apply([chosen.x, chosen.y]);
    const seen = at[0] >= 0 && at[0] <= width && at[1] >= 0 && at[1] <= height;
    goal = Math.max(1, Math.min(4, goal * factor));
    moving(svg).call(zoom.scaleTo, goal, seen ? at : [width / 2, height / 2]);
  };
  button("out", "−", "Zoom out", by(1 / 1.5)).property("disabled", true);
  button("in", "+", "Zoom in", by(1.5));
  button("reset", "Reset", null, () => {
    const from = marks.data().map((w) => [w, w.x, w.y]);
    const home = (t) => {
      for (const [w, x, y] of from) [w.x, w.y] = [x + (w.home[0] - x) * t, y + (w.home[1] - y) * t];
      place();
    };
    moving(svg).call(zoom.transform, d3.zoomIdentity);
    if (quick.matches) home(1);
    else view.transition().duration(300).tween("home", () => home);
    choose(paper);
  });
  svg.call(zoom).on("dblclick.zoom", null);

  const paper = marks.data()[marks.nodes().findIndex((e) => e.classList.contains("source"))];
  const linked = () => works[location.hash.replace("#work-", "")];
  addEventListener("hashchange", () => { if (linked()) choose(linked()); });
  choose(linked() ?? paper);
})();
