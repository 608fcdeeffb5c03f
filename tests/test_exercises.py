"""Every exercise as its reader meets it: unanswered, then answered by the solution printed on the page."""
import ast
import re
import types

import matplotlib
import nbformat
import pytest
from conftest import NOTEBOOKS

CHAPTERS = [f for f in NOTEBOOKS if f.parent.name != "appendix"]
CODE = re.compile(r"(?:```|:::\{code-block\} )python\n(.*?)(?:```|:::)", re.S)
SOLUTION = re.compile(r"(`{3,})\{solution\} (ex-[\w-]+)\n(.*?)\n\1(?:\n|$)", re.S)


def solutions(cells):
    """Label of an exercise -> the code of its solution."""
    text = "\n\n".join(c.source for c in cells if c.cell_type == "markdown")
    return {m[2]: CODE.search(m[3])[1] for m in SOLUTION.finditer(text)}


@pytest.mark.parametrize("file", CHAPTERS, ids=lambda f: f.stem)
def test_solutions_pass_their_checks(file):
    matplotlib.use("agg")
    cells = nbformat.read(file, as_version=4).cells
    solved, page, number = solutions(cells), types.ModuleType("page").__dict__, 0
    for cell in cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type != "code" or "skip-execution" in tags:
            continue
        if "check" not in tags:
            exec(compile(cell.source, cell.id, "exec"), page)
            matplotlib.pyplot.close("all")
            continue
        number += 1
        tree = ast.parse(cell.source)
        call = re.search(r"\w+\(answer\)", ast.unparse(tree.body.pop()))[0]
        reader = dict(page)
        exec(compile(tree, cell.id, "exec"), reader)
        assert not str(eval(call, reader)).startswith("right"), f"{cell.id} takes no answer for a right one"
        exec(solved[f"ex-{file.stem}-{number}"], reader)
        assert str(eval(call, reader)).startswith("right"), f"{cell.id}: {eval(call, reader)}"
    assert number == len(solved) > 2
