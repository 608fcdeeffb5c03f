"""Docstrings as they are written, for `help()`, set as API pages: no markup is asked of them.

A paragraph stays a paragraph, an indented block is a formula or an example and keeps its lines, `name : words` is an
entry of a list (its further lines indented), and single backticks hold code.
"""
import re

ENTRY = re.compile(r"(\S.*?) : (.*)")


def inline(text):
    """Escape what reStructuredText would read as markup, outside code; double the backticks of code."""
    parts = re.split(r"`+([^`]+)`+", text)
    return "".join(f"``{p}``" if i % 2 else re.sub(r"([\\*_|])", r"\\\1", p) for i, p in enumerate(parts))


def block(rows):
    """The lines of one paragraph as reStructuredText."""
    if rows[0].startswith(" "):
        return ["::", "", *("    " + r for r in rows)]
    if len(rows) > 1 and set(rows[1]) == {"-"}:
        return [f"**{rows[0]}**", "", *(block(rows[2:]) if rows[2:] else [])]
    out, entries = [], False
    for row in rows:
        entry = ENTRY.fullmatch(row)
        if entry:
            out += ["", f"``{entry[1].replace('`', '')}``", "    " + inline(entry[2])]
        elif entries and row.startswith(" "):
            out.append("    " + inline(row.strip()))
        else:
            out += [""] * entries + [inline(row.strip())]
        entries = bool(entry) or entries and row.startswith(" ")
    return out


def typeset(app, what, name, obj, options, lines):
    blocks = re.split(r"\n(?:\s*\n)+", "\n".join(lines).strip("\n"))
    lines[:] = [line for b in blocks if b for line in [*block(b.split("\n")), ""]]


def setup(app):
    app.connect("autodoc-process-docstring", typeset)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
