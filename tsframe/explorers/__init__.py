"""Floor 8. Explorers: pictures that compute in the page, with no kernel; in Jupyter they take a teacher of your own.

    from tsframe import explorers
    explorer = explorers.TableSpace(polarity=0.7)     # show it as the last line of a cell
    explorer.teacher = my_teacher                     # or train on a teacher of your own
    explorer.history                                  # the losses of the last run

Every setting is a trait: `explorer.polarity = 0.9`. The page and Python share their random numbers (`start`, `Sampler`),
so a state seen in a picture can be had here to the last digits. They need the package `anywidget`.
"""
from ._base import Explorer, Taught, dial, seed
from ._drawn import Generator, Sampler, start

__all__ = ["Explorer", "Generator", "Sampler", "TableSpace", "Teachers", "start"]


class TableSpace(Taught):
    """Students trained on the teacher's tables beside the same students trained on samples. Chapter `dynamics`.

    Six students of `width` nodes a region on a binary tree; `history` holds their reduced losses. `results` has the
    exact losses on real inputs, "tables" and "samples" at the steps "at", the share of right answers of both, and the
    "floor" and "best" of any function of the leaves. A teacher whose fields overlap has table space only.
    """

    name, code, title = "table-space", "tables", "What do the tables leave out?"
    polarity = dial(0.8, "polarity ρ", 0.0, 1.0, 0.05)
    depth = dial(3, "depth of the tree", values=(1, 2, 3, 4))
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
    depth = dial(3, "depth of the tree", values=(1, 2, 3, 4, 5))
    branching = dial(2, "children a region", values=(1, 2, 3))
    states = dial(2, "states a region", values=(2, 3, 4))
    polarity = dial(0.8, "polarity ρ", -1.0, 1.0, 0.05)
    images = dial(4000, "inputs drawn", values=(200, 1000, 4000, 16000))
    seed = seed()

    def check(self, teacher):
        """Sampling needs one parent per region."""
        teacher.sample_states(1, seed=0)
