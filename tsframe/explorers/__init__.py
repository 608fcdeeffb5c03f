"""Floor 8. Explorers: pictures that compute in the page, with no kernel; in Jupyter they take a teacher of your own.

    from tsframe import explorers
    explorer = explorers.TableSpace(polarity=0.7)     # show it as the last line of a cell
    explorer.teacher = my_teacher                     # or train on a teacher of your own
    explorer.history                                  # the losses of the last run

Every setting is a trait: `explorer.polarity = 0.9`. The page and Python share their random numbers (`start`, `Sampler`),
so a state seen in a picture can be had here to the last digits. They need the package `anywidget`.
"""
from .. import _checks as check
from ._base import Explorer, Taught, dial, seed
from ._drawn import DROPS, Generator, Inputs, Sampler, dense_pair, start, two_parts

__all__ = ["BatchNormGeometry", "Correspondence", "Explorer", "Generator", "Hull", "Inputs", "Masks", "OverFitting", "Parts", "Sampler", "TableSpace",
           "Taught", "Teachers", "Winners", "dense_pair", "start", "two_parts"]


class TableSpace(Taught):
    """Students trained on the teacher's tables beside the same students trained on samples. Chapter `dynamics`.

    Six students of `width` nodes a region on a binary tree; `history` holds their reduced losses. `results` has the
    exact losses on real inputs, "tables" and "samples" at the steps "at", the share of right answers of both, and the
    "floor" and "best" of any function of the leaves. A teacher whose fields overlap has table space only.
    """

    name, code, title = "table-space", "tables", "What do the tables leave out?"
    polarity = dial(0.8, "polarity ρ", 0.0, 1.0, 0.05, makes=True)
    depth = dial(3, "depth of the tree", values=(1, 2, 3, 4), makes=True)
    width = dial(10, "nodes a region", values=(2, 4, 6, 8, 10, 12, 16))
    lr = dial(0.07, "learning rate", 0.01, 0.2, 0.01)
    batch = dial(32, "trees a step, SGD", values=(4, 8, 16, 32, 64, 128))
    steps = dial(160, "steps", values=(80, 160, 320))
    seed = seed()

    def check(self, teacher):
        """Its labels must be drawn from probabilities."""
        teacher.label_law


class Teachers(Taught):
    """One draw from a latent tree, what a region keeps of the top's state, and some inputs. Chapter `teachers`.

    `results` holds, by edges below the top along the first branch, how often the best guess of the top's state from one
    region is right: "theory", "measured" in `images` draws, and "error", two standard errors of 20 runs.
    """

    name, code, title = "teachers", "teachers", "What arrives at the leaves?"
    depth = dial(3, "depth of the tree", values=(1, 2, 3, 4, 5), makes=True)
    branching = dial(2, "children a region", values=(1, 2, 3), makes=True)
    states = dial(2, "states a region", values=(2, 3, 4), makes=True)
    polarity = dial(0.8, "polarity ρ", -1.0, 1.0, 0.05, makes=True)
    images = dial(4000, "inputs drawn", values=(200, 1000, 4000, 16000))
    seed = seed()

    def check(self, teacher):
        """Sampling needs one parent per region."""
        teacher.sample_states(1, seed=0)


class Parts(Taught):
    """The tables' F, G or ΔW of a student on a latent tree against the network's, and the parts of the error. Chapter `expansion`.

    `results` has the norms of the "parts" at the level shown, the "total" and the "cosine" between both updates. The truth is summed over all joint states, or over 2000 draws where they are many.
    """

    name, code, title = "expansion", "parts", "Which part of the error is large?"
    table = dial("updates ΔW", "compare", values=("activations F", "signals G", "updates ΔW"))
    below = dial(0, "levels below the top", values=(0, 1))
    polarity = dial(0.8, "polarity ρ", 0.0, 1.0, 0.05, makes=True)
    branching = dial(3, "children a region", values=(1, 2, 3), makes=True)
    width = dial(6, "nodes a region", values=(1, 2, 4, 6, 8, 12, 16))
    steps = dial(0, "steps of SGD before", values=(0, 10, 30, 100, 300))
    activation = dial("relu", "student", values=("relu", "linear"))
    gates = dial("of the mean", "gates of the tables", values=("of the mean", "measured"))
    seed = seed()

    def check(self, teacher):
        """Sampling needs one parent per region, and labels that can be drawn."""
        teacher.sample(1, seed=0)


class Hull(Explorer):
    """Six states as points in a triangle: which are corners, what cuts them off, and what trained nodes make of the moving one.

    `table`, rows of three probabilities, puts states of your own in their place; the last one is pulled to a corner.
    `results` has the "rows", their "margins", and over "pulls" the "least" possible miss and that of "trained" nodes.
    Chapter `nonlinearity`.
    """

    name, code, title = "hull", "hull", "Which states can one node tell apart?"
    gives = "table"
    pull = dial(0.0, "pull the last state", 0.0, 1.0, 0.02)
    corner = dial(2, "to corner", 1, 3)
    state = dial(6, "state cut off", 1, 6)
    seed = seed()

    @property
    def table(self):
        """Rows of your own, or None."""
        return self._given

    @table.setter
    def table(self, table):
        if table is not None:
            table = check.probabilities("table", check.real("table", table, (None, 3)))
            if not 4 <= len(table) <= 12:
                raise ValueError(f"table must have 4 to 12 rows; found {len(table)}")
        self._given = None if table is None else table.tolist()


class OverFitting(Explorer):
    """A hard region that knows the label beside a loud one that does not, over the size of the sample. Chapter `overfitting`.

    `results` has N* as "star", and over "sizes" the "signal" of the spurious region with its "theory" and that of the
    "hard" one; "holds" and "scores" of trained students by sample: (hard, spurious) and (on the sample, on new inputs).
    """

    name, code, title = "overfitting", "overfitting", "How many samples until chance falls silent?"
    contents = dial(64, "contents of α", values=(4, 16, 64, 256))
    tilt = dial(0.25, "tilt of α", 0.05, 1.0, 0.05)
    tie = dial(0.0, "tie of γ to the label", 0.0, 0.5, 0.05)
    steps = dial(1, "steps of training", values=(1, 10, 100))
    seed = seed()


class BatchNormGeometry(Explorer):
    """Three samples in space: what a normalisation takes out of a signal, and what ε leaves there. Chapter `batchnorm`.

    The values are f = (0, `middle`, 2), the signal is g. `results` has "back", s times the signal at f by the engine,
    "measured", the same by differences of the loss, and "share", measured at ε/σ² = 10^-3, 10^-2.5, ..., 10^3.
    """

    name, code, title = "batchnorm", "batchnorm", "What does a normalisation take out of a signal?"
    ratio = dial(0.0, "ε / σ²", 0.0, 4.0, 0.1)
    g1 = dial(2.0, "signal of sample 1", -2.0, 2.0, 0.25)
    g2 = dial(-1.0, "signal of sample 2", -2.0, 2.0, 0.25)
    g3 = dial(0.0, "signal of sample 3", -2.0, 2.0, 0.25)
    middle = dial(1.0, "value of sample 2", -1.0, 3.0, 0.25)
    turn = dial(-28, "turn the picture", -90, 90, 2)


class Masks(Explorer):
    """Two independent parts, and the weights that could cross between them, along training in table space. Chapter `disentanglement`.

    `results` has by step the largest crossed weight as "leak", and "first", what the theorem foretells of it after the
    first step. `two_parts` makes the same teacher and student in Python.
    """

    name, code, title = "masks", "masks", "Do the parts stay apart?"
    norm = dial("before", "normalisation", values=("before", "after", "none"))
    top = dial("centred", "top", values=("centred", "plain"))
    inputs = dial("as they are", "inputs", values=("as they are", "centred"))
    drop = dial("nothing", "drop an assumption", values=DROPS)
    eps = dial(0.2, "ε", values=(0.0, 0.01, 0.2, 1.0))
    cross = dial(0.0, "crossed at the start", values=(0.0, 0.000001, 0.001, 1.0))
    steps = dial(200, "steps", values=(40, 100, 200, 400))
    seed = seed()


class Winners(Explorer):
    """Four students of one to three teacher nodes: the exact flow beside training on samples. Chapter `winners`.

    All fan-outs of the teacher are 1; its second and third node stand at right angles to the first, where the second
    and third student lean. `results` has the flow by "times": "angles", a row of teacher nodes a student, and "fans";
    and at the times "at" those of six students trained on samples, "turned" and "measured".
    """

    name, code, title = "winners", "winners", "Who wins a teacher node?"
    teachers = dial(1, "teacher nodes", values=(1, 2, 3))
    first = dial(0.3, "start of student 1 (rad)", 0.1, 3.0, 0.1)
    second = dial(1.2, "start of student 2 (rad)", 0.1, 3.0, 0.1)
    fan = dial(0.25, "fan-outs at the start", 0.05, 1.0, 0.05)
    batch = dial(32, "samples a step", values=(4, 8, 32, 128))
    lr = dial(0.05, "learning rate", values=(0.02, 0.05, 0.1, 0.2))
    seed = seed()


class Correspondence(Explorer):
    """Which student node becomes which teacher node, along training on normal inputs. Chapter `specialization`.

    Nodes stand from strong to weak. `results` has by teacher node the "strength", the first step at which a student
    correlates by more than 0.95 as "found" (or None), that of a "lone" node by theory, and the "best" correlation at
    the steps "at". `dense_pair` makes the same teacher and student in Python.
    """

    name, code, title = "correspondence", "nodes", "Which node is found first?"
    nodes = dial(12, "teacher nodes", values=(4, 8, 12, 16))
    times = dial(5, "student nodes for each", values=(1, 2, 3, 5, 10))
    decay = dial(1.0, "strength decay p", 0.0, 2.0, 0.25)
    steps = dial(1200, "steps", values=(480, 1200, 2400))
    seed = seed()
