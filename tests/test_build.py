"""The rules that stop a build, tried on a book of one page with this book's own settings and extensions."""
import os
import re
import shutil

import pytest
import yaml
from conftest import ROOT, build

import figures
import statements

PAGE = """---
jupytext: {{text_representation: {{extension: .md, format_name: myst}}}}
kernelspec: {{name: python3, display_name: Python 3}}
---
# One page

```{{code-cell}}
import tsframe
print("the value is", tsframe.VALUE)
```

```{{prf:theorem}} One
:label: {label}

Text.
```
"""
PACKAGE = """
from types import SimpleNamespace
VALUE = {value}
def certify():
    return [SimpleNamespace(id={id!r}, passed={passed})]
"""


@pytest.fixture
def small(tmp_path):
    """A book of one page; returns a function that writes it, builds it and gives (exit status, log, page)."""
    shutil.copytree(ROOT / "book/_ext", tmp_path / "book/_ext")
    (tmp_path / "book/assets").mkdir()
    for name in ("look.css", "page.js", "favicon.png"):
        shutil.copy(ROOT / "book/assets" / name, tmp_path / "book/assets")
    for name in ("_config.yml", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copy(ROOT / "book/references.bib", tmp_path / "book")
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump({"format": "jb-book", "root": "book/page"}))
    for hidden in (".venv/lib", ".pytest_cache"):       # what stands in a used tree and is no page
        (tmp_path / hidden).mkdir(parents=True)
        (tmp_path / hidden / "README.md").write_text("### Not a page\n")
    (tmp_path / "tsframe").mkdir()
    (tmp_path / "tsframe/plots.py").write_text("INK = {}\n")
    (tmp_path / "tsframe/explorers").mkdir()
    (tmp_path / "tsframe/explorers/__init__.py").write_text("")
    (tmp_path / "tsframe/explorers/_base.py").write_text("page_script = style = str\n")

    def run(value=1, label="thm-one", id="one", passed=True):
        (tmp_path / "book/page.md").write_text(PAGE.format(label=label))
        (tmp_path / "tsframe/__init__.py").write_text(PACKAGE.format(value=value, id=id, passed=passed))
        done = build(tmp_path, **{**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"})
        page = tmp_path / "_build/html/book/page.html"
        return done.returncode, done.stdout, page.read_text() if page.exists() else ""

    return run


def test_results_are_never_older_than_the_package(small):
    for value in (1, 2):
        status, log, page = small(value=value)
        assert status == 0, log[-3000:]
        assert f"the value is {value}" in page


@pytest.mark.parametrize("fault, complaint", [
    (dict(passed=False), "certificate 'one' does not pass"),
    (dict(label="thm-two"), "theorem 'thm-two' on book/page has no certificate"),
], ids=["fails", "missing"])
def test_a_bad_certificate_stops_the_build(small, fault, complaint):
    status, log, _ = small(**fault)
    assert status != 0 and complaint in log


def test_audit_of_statements_and_certificates():
    stated = {"thm-one": ("theorem", "a"), "lemma-0": ("lemma", "b")}
    assert list(statements.audit({"thm-one": ("theorem", "a")}, {"one": True})) == []
    complaints = list(statements.audit(stated, {"one": True, "two": False}))
    assert [re.search(r"'([\w-]+)'", c)[1] for c in complaints] == ["lemma-0", "two", "two"]


SVG = """<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
 width="302pt" height="72pt" viewBox="0 0 302.4 72"><metadata>by hand</metadata><style>*{{fill:red}}</style>
 <defs><path id="a" d="M 0.123456 -1.999 L 3 4"/></defs>
 <use xlink:href="#a" style="fill: {theory}; clip-path: url(#a)"/><path d="M 1 1" stroke="#123456"/></svg>"""


def test_picture_becomes_part_of_the_page():
    from tsframe.plots import INK

    live = figures.live(SVG.format(theory=INK["theory"]), 'rises & says "so"', "f1-")
    assert live.startswith("<svg") and "by hand" not in live and "<style" not in live
    assert f'fill: var(--theory,{INK["theory"]}); clip-path: url(#f1-a)' in live
    assert 'id="f1-a"' in live and 'href="#f1-a"' in live and "xlink" not in live
    assert 'd="M 0.12 -2 L 3 4"' in live and 'stroke="#123456"' in live
    assert 'class="fig"' in live and "--w:4.20" in live and 'aria-label="rises &amp; says &quot;so&quot;"' in live
