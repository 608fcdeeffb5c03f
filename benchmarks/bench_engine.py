"""Speed of the explorers' engine in a browser: training steps a second, and frames while it trains.

    python benchmarks/bench_engine.py

A step is forward, backward, update and descent of one student in float64. In the second table the page draws all the
while: students train within a budget of 8 ms a frame, as in an explorer.
"""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests")]

STEPS = """([depth, states, nodes, batch]) => { const h = E.tree(depth), t = E.latentTree(h, states, 0.8), widths = [states, ...Array(depth - 1).fill(nodes), states];
    const s = E.student(h, widths, { random: E.generator(0) }), g = E.generator(1); let data = batch ? E.sample(t, batch, g) : t; const e = E.expansion(s, data);
    const work = () => { if (batch) data = E.sample(t, batch, g, data); E.descend(s, data, 1e-9, e); };
    const until = (ms) => { let n = 0; for (const end = performance.now() + ms; performance.now() < end; n++) work(); return n / ms * 1000; };
    until(200);
    return Math.max(...[1, 2, 3, 4, 5].map(() => until(200))); }"""
FRAMES = """async () => { const t = E.latentTree(E.tree(3), 2, 0.8), s = E.student(t.hierarchy, [2, 8, 8, 2], { random: E.generator(0) }), e = E.expansion(s, t);
    const box = document.body.appendChild(document.createElement("div")); let steps = 0, frames = [], last = performance.now(), begun = last;
    while (last - begun < 2000) { for (const end = performance.now() + 8; performance.now() < end; steps++) E.descend(s, t, 1e-9, e);
        box.textContent = steps; await new Promise(requestAnimationFrame); const now = performance.now(); frames.push(now - last); last = now; }
    frames.sort((a, b) => a - b);
    return [steps / (last - begun) * 1000, frames.length / (last - begun) * 1000, frames[Math.floor(frames.length * 0.95)]]; }"""

if __name__ == "__main__":
    import browser
    from playwright.sync_api import sync_playwright

    path = browser.find()
    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=path)
        tab = chromium.new_page()
        tab.evaluate("async src => { window.E = await import(URL.createObjectURL(new Blob([src], {type: 'text/javascript'}))) }",
                     (ROOT / "tsframe/explorers/engine.js").read_text(encoding="utf-8"))
        print("depth  states  nodes  rows of a batch  steps a second")
        for depth, states, nodes, batch in ((3, 2, 8, 0), (3, 2, 8, 32), (3, 4, 16, 0), (5, 2, 8, 0), (4, 2, 10, 32)):
            print(f"{depth:5}  {states:6}  {nodes:5}  {batch or 'tables':>15}  {tab.evaluate(STEPS, [depth, states, nodes, batch]):14,.0f}")
        steps, frames, slow = tab.evaluate(FRAMES)
        print(f"\nwhile the page draws: {steps:,.0f} steps and {frames:.0f} frames a second; 95% of the frames within {slow:.0f} ms")
        chromium.close()
