"""What all explorers share on the side of Python: dials, the text of the page's script, and the way to and from it."""
import html
import json
import re
from functools import cache
from pathlib import Path

import anywidget
import torch
import traitlets

from .. import _checks as check
from ..teacher import Teacher
from ..training import History

HERE = Path(__file__).resolve().parent
MODULES = ["engine", "draw", "explorer"]         # then one a class, in alphabetical order
LARGEST = 200_000                                # numbers of a teacher that goes to the page


class Number(traitlets.Float):
    """A float; NaN is none, though no bound refuses it."""

    info_text = "a number"

    def validate(self, obj, value):
        value = super().validate(obj, value)
        if value != value:
            self.error(obj, value)
        return value


def dial(start, label, least=None, most=None, step=1, values=None, kind="range", makes=False):
    """A setting: a trait, and what the page needs to make a control of it. `values` lists the possible ones.

    makes : it makes the teacher, so it has no say where one is given
    """
    about = dict(label=label, least=least, most=most, step=step, values=values, kind=kind, makes=makes)
    if values is not None:
        return traitlets.Enum(list(values), start).tag(sync=True, dial=about)
    number = traitlets.Int if isinstance(start, int) else Number
    return number(start, min=least, max=most).tag(sync=True, dial=about)


def seed(start=0):
    """The dial of a seed."""
    return dial(start, "seed", 0, 999, kind="seed")


@cache
def script(ending):
    """All modules as one text, each in a scope of its own: `import {a} from "./b.js"` becomes a constant, exports are returned.

    A page loads it as one file, also from a disk, where browsers refuse modules that import one another.
    """
    parts = []
    for name in [*MODULES, *sorted(f.stem for f in HERE.glob("*.js") if f.stem not in MODULES)]:
        text = (HERE / f"{name}.js").read_text(encoding="utf-8")
        text = re.sub(r'^import \{([^}]*)\} from "\./(\w+)\.js";$', r"const {\1} = $\2;", text, flags=re.M)
        exported = re.findall(r"^export (?:const|class|function) (\w+)", text, flags=re.M)
        text = re.sub(r"^export (?=const|class|function)", "", text, flags=re.M)
        parts.append(f"const ${name} = (() => {{\n{text}\nreturn {{ {', '.join(exported)} }};\n}})();\n")
    names = ", ".join(f"...${name}" for name in sorted(f.stem for f in HERE.glob("*.js") if f.stem not in MODULES))
    return "".join(parts) + f"const explorers = {{ {names} }};\n" + ending


WIDGET = """export default { render({ model, el }) {
  const spec = model.get("_spec");
  el.classList.add("explorer");
  return $explorer.mount(el, explorers[spec.code], spec, model);
} };
"""
PAGE = """for (const el of document.querySelectorAll("[data-explorer]")) {
  try {
    const spec = JSON.parse(el.dataset.explorer);
    $explorer.mount(el, explorers[spec.code], spec);
  } catch (error) { console.error(error); }                        // the others go on
}
for (const el of document.querySelectorAll(".hero")) $hero.hero(el);
document.documentElement.dataset.explorers = "ready";
"""


def page_script():
    """The script of a built page: it wakes every explorer there."""
    return '"use strict";\n(() => {\n' + script(PAGE) + "})();\n"


def style():
    return (HERE / "explorer.css").read_text(encoding="utf-8")


class Explorer(anywidget.AnyWidget):
    """A picture that computes in the page. Settings are traits, given by name or set later; `results` is what it found.

    `name` and `title` stand in the page's link and for screen readers; `code` is the JavaScript object. Without a
    browser the settings are checked and kept, and `results` is empty.
    """

    _esm, _css = script(WIDGET), style()
    name = title = code = None
    gives = None                                 # the property that takes something of your own
    _spec = traitlets.Dict().tag(sync=True)
    _given = traitlets.Any(None, allow_none=True).tag(sync=True)
    _result = traitlets.Dict().tag(sync=True)

    def __init_subclass__(cls, **options):
        """Append the settings to the docstring: name, range or values, start."""
        super().__init_subclass__(**options)
        dials = [(k, t.default_value, t.metadata["dial"]) for k, t in vars(cls).items()
                 if isinstance(t, traitlets.TraitType) and "dial" in t.metadata]
        if dials:
            rows = [f"{k} : {start!r}, " + (f"one of {', '.join(map(repr, d['values']))}" if d["values"] else
                                            f"from {d['least']:g} to {d['most']:g}") for k, start, d in dials]
            cls.__doc__ = cls.__doc__.rstrip() + "\n\n    Settings and their starts\n    ----\n    " + "\n    ".join(rows) + "\n    "

    def __init__(self, **settings):
        given = settings.pop(self.gives, None)
        unknown = settings.keys() - self.settings().keys()
        if unknown:
            raise ValueError(f"{type(self).__name__} must have settings among {', '.join(self.settings())}; found {', '.join(sorted(unknown))}")
        super().__init__(_spec=self.spec(), **settings)
        if given is not None:
            setattr(self, self.gives, given)

    @classmethod
    def settings(cls):
        """The traits that are settings: name -> trait, in the order of the class."""
        return {name: trait for name, trait in cls.class_traits().items() if "dial" in trait.metadata}

    @classmethod
    def spec(cls):
        """Everything that the page needs: name, title and dials with their start values."""
        order = [k for base in reversed(cls.__mro__) for k in vars(base)]
        dials = sorted(cls.settings().items(), key=lambda pair: order.index(pair[0]))
        return dict(name=cls.name, title=cls.title, code=cls.code, dials=[
            dict(key=k, start=t.default_value, **t.metadata["dial"]) for k, t in dials])

    @property
    def results(self):
        """What the explorer last found, by name; empty until a browser has shown it."""
        return dict(self._result)

    def _repr_mimebundle_(self, **kwargs):
        shown = super()._repr_mimebundle_(**kwargs)
        data = shown[0] if isinstance(shown, tuple) else shown
        if data is not None:
            data["text/html"] = self.to_html({k: getattr(self, k) for k in self.settings()})
        return shown

    @classmethod
    def to_html(cls, settings=None, bare=False):
        """The explorer as a part of a built page: what the script needs, and its picture for readers without scripts.

        settings : start values in the place of the class's own
        bare : without the picture, which `python tests/stills.py` makes for the class's own start values
        """
        spec, file = cls.spec(), HERE / "stills" / f"{cls.name}.html"
        own = [d["start"] for d in spec["dials"]]
        for d in spec["dials"] if settings else ():
            d["start"] = settings[d["key"]]
        drawn = not bare and own == [d["start"] for d in spec["dials"]] and file.exists()
        data = html.escape(json.dumps(spec, ensure_ascii=False))
        return (f'<section class="explorer" id="explorer-{cls.name}" aria-label="Explorer: {html.escape(cls.title)}" data-explorer="{data}">'
                + (file.read_text(encoding="utf-8").strip() if drawn else '<div class="picture"></div><output></output>')
                + '<p class="still">This picture moves and has controls where scripts run.</p></section>')


class Taught(Explorer):
    """An explorer that also takes a teacher of your own: `explorer.teacher = teacher`."""

    gives = "teacher"

    @property
    def teacher(self):
        """The teacher that was given, or None: then the settings make one."""
        return getattr(self, "_teacher", None)

    @teacher.setter
    def teacher(self, teacher):
        given = None
        if teacher is not None:
            given = described(check.instance("teacher", teacher, Teacher))
            self.check(teacher)
        self._teacher, self._given = teacher, given

    def check(self, teacher):
        """Raise where this explorer cannot show the teacher."""

    @property
    def history(self):
        """The losses of the last run, as `train` returns them: (records, students). None until a browser has trained."""
        found = self._result
        return History(found["steps"], torch.tensor(found["loss"], dtype=torch.float64), []) if "loss" in found else None


def described(teacher):
    """A teacher as the page takes it: nested lists, tables dense."""
    h, m = teacher.hierarchy, teacher.states
    count = (sum(h.children[l].numel() * m[l] * m[l - 1] for l in range(1, h.depth + 1))
             + teacher.features.numel() + teacher.target.numel())
    if count > LARGEST:
        raise ValueError(f"teacher must have tables, features and targets of at most {LARGEST} numbers to be shown in a page; found {count}")
    return dict(children=[None, *(c.tolist() for c in h.children[1:])], prior=[p.tolist() for p in teacher.prior],
                P=[None, *(teacher.dense(l).double().tolist() for l in range(1, h.depth + 1))], features=teacher.features.double().tolist(),
                target=teacher.target.double().tolist(), classes=teacher.target.shape[1])
