"""What the README says is so: its example prints its own comments, and its files and targets exist."""
import contextlib
import io
import re

import yaml
from conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text, language=""):
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S)


def test_the_example_prints_what_its_comments_say():
    (code,) = blocks(README, "python")
    promised = re.findall(r"^# (.*)$", code, flags=re.M)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, "README.md", "exec"), {})
    assert promised and out.getvalue().splitlines() == promised


def test_the_front_pages_example_runs():
    (code,) = blocks((ROOT / "book" / "intro.md").read_text(encoding="utf-8"), "python")
    found = {}
    exec(compile(code, "intro.md", "exec"), found)
    assert found["tables"].F[-1].shape == (1, 2, 2)


def test_links_and_pictures_exist():
    for page in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        targets = re.findall(r'\]\(([^)]+)\)|(?:src|srcset)="([^"]+)"', text)
        for target in filter(None, sum(targets, ())):
            assert target.startswith("https://") or (ROOT / target).is_file(), f"{page}: {target}"


def test_commands_are_targets_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in ("README.md", "CONTRIBUTING.md", "book/intro.md"):
        for target in re.findall(r"^make (\w+)|`make (\w+)`", (ROOT / page).read_text(), flags=re.M):
            assert re.search(rf"^{''.join(target)}:", makefile, flags=re.M), f"{page}: make {target}"


def test_chapters_of_the_readme_are_those_of_the_book():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [c["file"] + ".ipynb" for part in toc["parts"][:-1] for c in part["chapters"]]
    assert re.findall(r"^\| \d+ \| \[[^]]+\]\(([^)]+)\)", README, re.M) == chapters


def test_the_citation_agrees_with_the_package():
    import tsframe
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == tsframe.__version__
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
