"""Every numbered statement of the book has a certificate, every certificate a statement, and all of them pass."""
import re

from docutils import nodes
from sphinx.util import logging

STATEMENTS = {"theorem", "lemma", "proposition", "corollary"}
log = logging.getLogger(__name__)


def stated(env):
    """label -> (type, page) of every statement that must be certified."""
    proofs = getattr(env, "proof_list", {})
    return {label: (p["realtype"], p["docname"]) for label, p in proofs.items() if p["realtype"] in STATEMENTS}


def audit(stated, certificates):
    """Complaints about the book. `stated`: label -> (type, page); `certificates`: id -> passed."""
    for label, (kind, page) in stated.items():
        if not label.startswith("thm-"):
            yield f"{kind} '{label}' on {page} needs a label thm-<id> and a certificate of that id"
        elif label.removeprefix("thm-") not in certificates:
            yield f"{kind} '{label}' on {page} has no certificate"
    for name, passed in certificates.items():
        if f"thm-{name}" not in stated:
            yield f"certificate '{name}' belongs to no numbered statement; no chapter has the label thm-{name}"
        if not passed:
            yield f"certificate '{name}' does not pass"


def check(app, env):
    import tsframe

    for complaint in audit(stated(env), {c.id: c.passed for c in tsframe.certify()}):
        log.warning(complaint, type="statements")


def link(app, doctree, docname):
    """A certificate shown away from its statement (the ledger) links to the page that has it."""
    pages = {label: page for label, (_, page) in stated(app.env).items() if page != docname}
    for raw in doctree.findall(nodes.raw):
        text = re.sub(r'href="#(thm-[\w-]+)"', lambda m: f'href="{app.builder.get_relative_uri(docname, pages[m[1]])}#{m[1]}"'
                      if m[1] in pages else m[0], raw.astext())
        raw.children, raw.rawsource = [], text
        raw += nodes.Text(text)


def setup(app):
    app.connect("env-check-consistency", check)
    app.connect("doctree-resolved", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
