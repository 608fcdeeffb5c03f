"""The chapters as files: clean, short-lined, described. Their cells are run by nbval in the same test run."""
import ast
import json
import re
import subprocess
import sys

import nbformat
import pytest
from conftest import NOTEBOOKS, ROOT

STRIP = ["--keep-id", "--keep-count", "--extra-keys", "metadata.widgets metadata.language_info.version "
         "cell.metadata.execution cell.metadata.user_expressions"]
LINES, FOLDED, COLUMNS = 12, 30, 72     # lines of a cell that all see, of one folded away; columns

pytestmark = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda f: f.stem)


def read(file):
    return nbformat.read(file, as_version=4)


def code(file):
    return [c for c in read(file).cells if c.cell_type == "code"]


def tags(cell):
    return set(cell.metadata.get("tags", []))


def draws(cell):
    """True for a cell that draws on the page: one that runs a drawing function, and is not hidden there."""
    if tags(cell) & {"remove-cell", "remove-output"}:
        return False
    run = [node for node in ast.parse(cell.source).body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    used = [(n.value.id, n.attr) for node in run for n in ast.walk(node)
            if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)]
    return any(name in ("plt", "plots") and what not in ("book_style", "glue") for name, what in used)


def test_is_a_valid_notebook(file):
    nb = read(file)
    nbformat.validate(nb)
    assert (nb.nbformat, nb.nbformat_minor) == (4, 5)
    ids = [c["id"] for c in json.loads(file.read_text(encoding="utf-8"))["cells"]]      # nbformat would mend them
    assert len(ids) == len(set(ids))


def test_is_stripped(file):
    check = subprocess.run([sys.executable, "-m", "nbstripout", *STRIP, "--verify", file], capture_output=True, text=True)
    assert check.returncode == 0, f"run: nbstripout {' '.join(STRIP[:3])} \"{STRIP[3]}\" {file.relative_to(ROOT)}"


def test_stored_outputs_are_the_compared_ones(file):
    for cell in code(file):
        compared = cell.source.startswith("# NBVAL_CHECK_OUTPUT")
        assert compared == ("NBVAL_CHECK_OUTPUT" in cell.source), f"{cell.id}: the comment belongs in the first line"
        assert compared == ("keep_output" in tags(cell)), f"{cell.id}: tag keep_output and the comment go together"
        assert compared == bool(cell.outputs), f"{cell.id}: a compared cell keeps its output, no other does"
        assert compared == (cell.execution_count is not None), f"{cell.id}: run count {cell.execution_count}"
        assert not any(o.output_type == "error" for o in cell.outputs), f"{cell.id}: an error is stored"
        assert not any("NBVAL_SKIP" in line or "NBVAL_RAISES_EXCEPTION" in line for line in cell.source.splitlines()), cell.id


def test_every_figure_has_words(file):
    for cell in code(file):
        words = cell.metadata.get("mystnb", {})
        if draws(cell) or "figure" in words:
            assert len(words.get("image", {}).get("alt", "").split()) >= 5, f"{cell.id}: alt text that says the finding"
            assert words.get("figure", {}).get("caption"), f"{cell.id}: caption"
            assert words["figure"].get("name", "").startswith("fig-"), f"{cell.id}: name fig-<chapter>-<word>"


def test_numbers_of_the_text_are_said_in_jupyter_too(file):
    cells = read(file).cells
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    assert "{glue:" not in text, 'Jupyter knows {eval}`glue["name:format"]`'
    if "{eval}" in text:
        assert any("from tsframe.plots import glue" in c.source for c in cells)


def test_cells_are_short(file):
    length = {c.id: sum(bool(line.strip()) for line in c.source.splitlines()) for c in code(file)}
    aside = {c.id for c in code(file) if tags(c) & {"hide-input", "remove-cell"}}
    long = [name for name, n in length.items() if n > LINES and name not in aside]
    assert len(long) <= 1, f"more than {LINES} lines, where one derivation cell may have them: {long}"
    assert max(length.values()) <= FOLDED, f"more than {FOLDED} lines, folded away or not: {length}"


def test_code_does_not_scroll_sideways(file):
    wide = [f"{c.id}: {line}" for c in code(file) for line in c.source.splitlines() if len(line) > COLUMNS]
    assert not wide, "\n".join(wide)


def test_python_controls_show_no_output_on_the_page(file):
    for cell in code(file):
        if re.search(r"\b(interact|interact_manual|interactive_output)\(", cell.source):
            # Controls need a kernel; and nbclient may wait for its whole timeout behind the messages of an Output widget.
            assert {"remove-output", "skip-execution"} <= tags(cell), f"{cell.id}: tag it remove-output, skip-execution"
