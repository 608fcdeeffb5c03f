"""The explorers' pictures at their start values, for readers without scripts: `python tests/stills.py` draws them anew.

The page's own script draws them in a browser, so that nothing moves when it takes over. A test holds the files to it.
"""
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tsframe/explorers/stills"


def classes():
    """All explorers, by name."""
    from tsframe import explorers

    kinds = [getattr(explorers, n) for n in explorers.__all__]
    return {k.name: k for k in kinds if isinstance(k, type) and issubclass(k, explorers.Explorer) and k.name}


def page(*bodies):
    """A page of the book's looks with these elements and the explorers' script, as text."""
    from tsframe.explorers import _base

    look = (ROOT / "book/assets/look.css").as_uri()
    return (f'<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>Explorer</title>'
            f'<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
            f'<link rel="stylesheet" href="{look}"><style>{_base.style()}</style><style>body{{margin:0;padding:0 1rem;background:var(--paper)}}'
            f'main{{max-width:42rem;margin:auto}}</style></head><body><main class="bd-article"><h1>Explorer</h1>{"".join(bodies)}</main>'
            f"<script>{_base.page_script()}</script></body></html>")


def settled(tab):
    """Wait until nothing moves."""
    tab.wait_for_function("document.documentElement.dataset.explorers == 'ready' && [...document.querySelectorAll('.explorer')].every(e => e.dataset.state == 'still')")


def draw(chromium):
    """name -> the picture and the sentence below it, as they stand in the page."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "page.html")
        file.write_text(page(*(kind.to_html(bare=True) for kind in classes().values())), encoding="utf-8")
        tab = chromium.new_page(viewport={"width": 760, "height": 900})
        tab.goto(file.as_uri())
        settled(tab)
        out = {name: tab.locator(f"#explorer-{name}").evaluate("e => e.querySelector('.picture').outerHTML + e.querySelector('output').outerHTML")
               for name in classes()}
        tab.close()
    return out


if __name__ == "__main__":
    from playwright.sync_api import sync_playwright

    import browser

    sys.path.insert(0, str(ROOT))
    FOLDER.mkdir(exist_ok=True)
    path = browser.find()
    with sync_playwright() as p:
        for name, text in draw(p.chromium.launch(executable_path=path)).items():
            (FOLDER / f"{name}.html").write_text(text + "\n", encoding="utf-8")
            print(f"{name}: {len(text):,} characters")
