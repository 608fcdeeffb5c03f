"""Numbers in the text, written {eval}`glue["name:.2f"]`: Jupyter evaluates them, the book takes them from the results."""
import re

from docutils.parsers.rst import roles
from myst_nb.ext.glue.roles import PasteTextRole


class Number(PasteTextRole):
    """myst-nb's `glue:text` role under the words that Jupyter understands."""

    def run(self):
        words = re.fullmatch(r'glue\["([^"]+)"\]', self.text)
        if not words:
            return [], [self.inliner.reporter.error(f'a number in the text must read glue["name:format"]; found {self.text}',
                                                    line=self.line)]
        self.text = words[1]
        return super().run()


def setup(app):
    app.connect("builder-inited", lambda app: roles.register_local_role("eval", Number()))     # after myst-nb's own
    return {"parallel_read_safe": True, "parallel_write_safe": True}
