"""Bad input: every kind by name, then random garbage thrown at every public name.

A call either works, with finite results, or raises ValueError (TypeError for a wrong type) with a message that says what
was wanted; it leaves its arguments unchanged.
"""
import copy
import dataclasses
import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tsframe as tsf
from strategies import either_ladder, few, hierarchies, latent_teachers, rngs, scenes

H = tsf.Hierarchy
TREE, PYRAMID, DIGITS = H.tree(1), H.pyramid(4, 2, 1), H.pyramid2d(2, 2, 1)
KEEP = np.tile(np.eye(2), (1, 2, 1, 1))
HALF = [[0.5, 0.5]]
NAN, INF = float("nan"), float("inf")


def table(value, at=(0, 1, 0, 0)):
    P = np.full((1, 2, 2, 2), 0.5)
    P[at] = value
    return [None, P]


def latent(**change):
    return tsf.Teacher.latent_tree(**dict(hierarchy=H.tree(2), states=2, polarity=0.8, seed=0) | change)


def ladder(**change):
    how = change.pop("how", tsf.Ladder.finest)
    return how(**dict(hierarchy=TREE, inputs=np.arange(6.0).reshape(3, 2, 1), labels=[0, 1, 1]) | change)


def coarse(summaries):
    return ladder(how=tsf.Ladder.coarse, summaries=summaries)


def kmeans(**change):
    return tsf.Ladder.kmeans(**dict(hierarchy=DIGITS, images=np.arange(48.0).reshape(3, 4, 4), labels=[0, 1, 1],
                                    states=[2, 2], seed=0) | change)


def student(**change):
    return tsf.Student(**dict(hierarchy=H.tree(2), widths=[2, 3, 2], seed=0) | change)


def expansion():
    return tsf.backward(tsf.expand(student(), latent()), student(), latent())


def inputs_with(value):
    x = np.arange(6.0).reshape(3, 2, 1)
    x[1, 0, 0] = value
    return x


REFUSED = {
    # hierarchies: indices, orphans, childless regions, tops, windows and strides
    "child index too large": (lambda: H([None, [[0, 1]], [[0, 1]]]), r"children\[2\] must hold region indices between 0 and 0; entry \[0, 1\] is 1"),
    "child index negative": (lambda: H([None, [[0, -1]]]), r"children\[1\] must hold region indices.*entry \[0, 1\] is -1"),
    "index past the leaves": (lambda: H([None, [[0, 2]]], leaves=2), r"children\[1\] must hold region indices between 0 and 1; entry \[0, 1\] is 2"),
    "region without parent": (lambda: H([None, [[0, 1], [2, 3]], [[0, 0]]]), "must have a parent; region 1 of level 1 is in no row of children.2."),
    "leaf without parent": (lambda: H([None, [[0, 1]]], leaves=3), "must have a parent; region 2 of level 0"),
    "gap among the leaves": (lambda: H([None, [[0, 2]]]), "must have a parent; region 1 of level 0"),
    "region without child": (lambda: H([None, np.zeros((1, 0), int)]), r"children\[1\] must name at least one child a region; found shape \(1, 0\)"),
    "level without region": (lambda: H([None, np.zeros((0, 2), int)]), r"children\[1\] must name at least one child.*\(0, 2\)"),
    "two tops": (lambda: H([None, [[0, 1], [1, 2]]]), r"the top level must hold one region; children\[1\] has 2 rows"),
    "only leaves": (lambda: H([None]), "children must have at least 2 entries .*found 1"),
    "leaves not None": (lambda: H([[[0]], [[0]]]), r"children\[0\] must be None"),
    "window longer than line": (lambda: H.pyramid(3, 4, 1), "window must be at most length; found window 4 and length 3"),
    "window longer than side": (lambda: H.pyramid2d(3, 4, 1), "window must be at most side; found window 4 and side 3"),
    "stride above window": (lambda: H.pyramid(9, 2, 3), "stride must be at most window.*found stride 3 and window 2"),
    "stride zero": (lambda: H.pyramid(9, 2, 0), "stride must be at least 1; found 0"),
    "window of one": (lambda: H.pyramid(9, 1, 1), "window must be at least 2; found 1"),
    "line of one": (lambda: H.pyramid(1, 1, 1), "length must be at least 2; found 1"),
    "too many levels": (lambda: H.pyramid2d(4, 2, 1, levels=9), "levels must be at most 3 .*found 9"),
    "no levels": (lambda: H.pyramid2d(4, 2, 1, levels=0), "levels must be at least 1; found 0"),
    "no depth": (lambda: H.tree(0), "depth must be at least 1; found 0"),
    "no branching": (lambda: H.tree(2, 0), "branching must be at least 1; found 0"),
    "level out of range": (lambda: TREE.field(2, 0), "level must be between 0 and 1; found 2"),
    "region out of range": (lambda: TREE.field(0, 2), "region must be between 0 and 1; found 2"),
    "parents of no level": (lambda: TREE.parents(-1), "level must be between 0 and 1; found -1"),
    # teachers: rows, signs, NaN, priors, shapes, targets
    "row sum": (lambda: tsf.Teacher(TREE, [None, HALF], table(0.3)), r"P\[1\]\[0, 1\] must have rows that sum to 1; row 0 sums to 0.8"),
    "negative probability": (lambda: tsf.Teacher(TREE, [None, HALF], table(-0.5)), r"P\[1\]\[0, 1, 0, 0\] must not be negative; found -0.5"),
    "NaN probability": (lambda: tsf.Teacher(TREE, [None, HALF], table(NAN)), r"P\[1\]\[0, 1, 0, 0\] must be finite; found nan"),
    "infinite probability": (lambda: tsf.Teacher(TREE, [None, HALF], table(INF)), r"P\[1\]\[0, 1, 0, 0\] must be finite; found inf"),
    "prior sum": (lambda: tsf.Teacher(TREE, [None, [[0.5, 0.6]]], [None, KEEP]), r"prior\[1\] must have rows that sum to 1; row 0 sums to 1.1"),
    "prior negative": (lambda: tsf.Teacher(TREE, [None, [[-0.5, 1.5]]], [None, KEEP]), r"prior\[1\]\[0, 0\] must not be negative; found -0.5"),
    "prior NaN": (lambda: tsf.Teacher(TREE, [None, [[NAN, 1.0]]], [None, KEEP]), r"prior\[1\]\[0, 0\] must be finite; found nan"),
    "prior contradicts": (lambda: tsf.Teacher(TREE, [[[0.4, 0.6], [0.5, 0.5]], HALF], [None, KEEP]), r"prior\[0\] must agree .* region 0, state 0 has prior 0.4, but prior\[1\]\[0\] times P\[1\]\[0, 0\] gives 0.5"),
    "prior missing": (lambda: tsf.Teacher(TREE, [None, None], [None, KEEP]), r"prior\[1\] must be given"),
    "prior shape": (lambda: tsf.Teacher(TREE, [None, [0.5, 0.5]], [None, KEEP]), r"prior\[1\] must have shape \(1, any\); found \(2,\)"),
    "prior entries": (lambda: tsf.Teacher(TREE, [HALF], [None, KEEP]), "prior must have 2 entries, one a level; found 1"),
    "table shape": (lambda: tsf.Teacher(TREE, [None, HALF], [None, KEEP[:, :1]]), r"P\[1\] must have shape \(1, 2, 2, any\); found \(1, 1, 2, 2\)"),
    "table rows": (lambda: tsf.Teacher(TREE, [None, HALF], [None, np.full((1, 2, 3, 2), 0.5)]), r"P\[1\] must have shape \(1, 2, 2, any\); found \(1, 2, 3, 2\)"),
    "table columns": (lambda: tsf.Teacher(TREE, [np.full((2, 3), 1 / 3), HALF], [None, KEEP]), r"prior\[0\] must have shape \(2, 2\); found \(2, 3\)"),
    "table missing": (lambda: tsf.Teacher(TREE, [None, HALF], [None, None]), r"P\[1\] must be given"),
    "P[0] given": (lambda: tsf.Teacher(TREE, [None, HALF], [KEEP, KEEP]), r"P\[0\] must be None"),
    "index too large": (lambda: tsf.Teacher(TREE, [[[0.5, 0.5]] * 2, HALF], [None, [[[0, 1], [0, 2]]]]), r"P\[1\] must hold child states between 0 and 1; entry \[0, 1, 1\] is 2"),
    "index without prior": (lambda: tsf.Teacher(TREE, [None, HALF], [None, [[[0, 1], [0, 1]]]]), r"prior.* must be given .*P\[1\] is an index"),
    "index shape": (lambda: tsf.Teacher(TREE, [[[0.5, 0.5]] * 2, HALF], [None, [[[0, 1]]]]), r"P\[1\] must have shape \(1, 2, 2\); found \(1, 1, 2\)"),
    "features shape": (lambda: tsf.Teacher(TREE, [None, HALF], [None, KEEP], features=np.ones((2, 3, 1))), r"features must have shape \(2, 2, any\); found \(2, 3, 1\)"),
    "features NaN": (lambda: tsf.Teacher(TREE, [None, HALF], [None, KEEP], features=np.full((2, 2, 1), NAN)), r"features\[0, 0, 0\] must be finite; found nan"),
    "target rows": (lambda: tsf.Teacher(TREE, [None, HALF], [None, KEEP], target=[[0.5, 0.4], [0.5, 0.5]]).sample(3, seed=0), r"target must have rows that sum to 1; row 0 sums to 0.9|target.*sum to 1; .*0.9"),
    "target shape": (lambda: tsf.Teacher(TREE, [None, HALF], [None, KEEP], target=np.eye(3)), r"target must have shape \(2, any\); found \(3, 3\)"),
    "target negative": (lambda: tsf.Ladder.enumerate(tsf.Teacher(TREE, [None, HALF], [None, KEEP], target=[[1.5, -0.5], [0, 1]])), r"target\[0, 1\] must not be negative; found -0.5"),
    "polarity above 1": (lambda: latent(polarity=1.1), r"polarity.* must lie in \[-1, 1\] for 2 states; found 1.1"),
    "polarity too low": (lambda: latent(states=3, polarity=-0.6), r"polarity.* must lie in \[-0.5, 1\] for 3 states; found -0.6"),
    "polarity NaN": (lambda: latent(polarity=NAN), "polarity must be finite; found nan"),
    "polarity of one edge": (lambda: latent(polarity=[None, [[0.1, 2.0], [0, 0]], [[0, 0]]]), r"polarity\[1\].* must lie in \[-1, 1\].*found 2"),
    "polarity shape": (lambda: latent(polarity=[None, [[0.1, 0.2]], [[0, 0]]]), r"polarity\[1\] must have shape \(2, 2\); found \(1, 2\)"),
    "states zero": (lambda: latent(states=0), "states must be at least 1; found 0"),
    "states by level": (lambda: latent(states=[2, 2], polarity=None), "states must have 3 entries, one a level; found 2"),
    "drawn tables where fields overlap": (lambda: latent(hierarchy=PYRAMID, polarity=None), "polarity must be given where fields overlap.*4 - 3 - 2 - 1"),
    # sampling
    "negative sample": (lambda: latent().sample(-1, seed=0), "n must be at least 0; found -1"),
    "negative ladder sample": (lambda: ladder().sample(-1, seed=0), "n must be at least 0; found -1"),
    "sampling where fields overlap": (lambda: latent(hierarchy=PYRAMID).sample(2, seed=0), "sampling needs one parent per region: .*overlap; found .*4 - 3 - 2 - 1"),
    "enumerating where fields overlap": (lambda: tsf.Ladder.enumerate(latent(hierarchy=PYRAMID)), "enumeration needs one parent per region"),
    "seed negative": (lambda: latent().sample(1, seed=-1), r"seed must lie between 0 and 2\*\*63 - 1; found -1"),
    # ladders
    "label too large": (lambda: ladder(labels=[0, 1, 2], classes=2), r"labels must hold class indices between 0 and 1; entry \[2\] is 2"),
    "label negative": (lambda: ladder(labels=[0, -1, 1]), r"labels must hold class indices.*entry \[1\] is -1"),
    "labels too few": (lambda: ladder(labels=[0, 1]), r"labels must have shape \(3,\); found \(2,\)"),
    "classes zero": (lambda: ladder(classes=0), "classes must be at least 1; found 0"),
    "weight negative": (lambda: ladder(weights=[1, -1, 1]), r"weights\[1\] must not be negative; found -1"),
    "weights all zero": (lambda: ladder(weights=[0, 0, 0]), "weights must not be all zero.* 3 rows"),
    "weight NaN": (lambda: ladder(weights=[1, NAN, 1]), r"weights\[1\] must be finite; found nan"),
    "weights too many": (lambda: ladder(weights=[1, 1, 1, 1]), r"weights must have shape \(3,\); found \(4,\)"),
    "inputs NaN": (lambda: ladder(inputs=inputs_with(NAN)), r"inputs\[1, 0, 0\] must be finite; found nan"),
    "inputs infinite": (lambda: ladder(inputs=inputs_with(-INF)), r"inputs\[1, 0, 0\] must be finite; found -inf"),
    "inputs of other leaves": (lambda: ladder(inputs=np.ones((3, 5, 1))), r"inputs must have shape \(any, 2, any\); found \(3, 5, 1\)"),
    "empty ladder": (lambda: ladder(inputs=np.ones((0, 2, 1)), labels=np.zeros(0, int)), "a ladder must have at least one row; inputs has 0"),
    "no features": (lambda: ladder(inputs=np.ones((3, 2, 0))), r"inputs must have at least one feature a leaf; found shape \(3, 2, 0\)"),
    "summaries negative": (lambda: coarse([[[0, 0]] * 3, [[0], [-1], [0]]]), r"summaries\[1\] must hold codes 0 or more; entry \[1, 0\] is -1"),
    "summaries shape": (lambda: coarse([[[0, 0]] * 3, [0, 0, 0]]), r"summaries\[1\] must have shape \(3, 1\); found \(3,\)"),
    "summaries entries": (lambda: coarse([[[0, 0]] * 3]), "summaries must have 2 entries, one a level; found 1"),
    "summary function": (lambda: coarse(lambda l, x: torch.zeros(3, 7, dtype=torch.long)), r"summaries\[0\] must have shape \(3, 2\); found \(3, 7\)"),
    "images not square": (lambda: kmeans(images=np.ones((3, 4, 6))), "images must be square.*4 x 6 and 4 leaves"),
    "images that do not divide": (lambda: kmeans(images=np.ones((3, 5, 5))), "images must be square.*5 x 5 and 4 leaves"),
    "images NaN": (lambda: kmeans(images=np.full((3, 4, 4), NAN)), r"images\[0, 0, 0\] must be finite; found nan"),
    "images on a line": (lambda: kmeans(hierarchy=H.tree(1)), "images must be square.* 2 leaves"),
    "no clusters": (lambda: kmeans(states=[2, 0]), r"states\[1\] must be at least 1; found 0"),
    "clusters by level": (lambda: kmeans(states=[2]), "states must have 2 entries, one a level; found 1"),
    "enumeration limit": (lambda: tsf.Ladder.enumerate(latent(), limit=0), "limit.*0"),
    # students
    "widths entries": (lambda: student(widths=[2, 2]), "widths must have 3 entries, one a level; found 2"),
    "width zero": (lambda: student(widths=[2, 0, 2]), r"widths\[1\] must be at least 1; found 0"),
    "width negative": (lambda: student(widths=[2, -3, 2]), r"widths\[1\] must be at least 1; found -3"),
    "ensemble zero": (lambda: student(ensemble=(2, 0)), r"ensemble\[1\] must be at least 1; found 0"),
    "activation": (lambda: student(activation="tanh"), "activation must be one of 'relu', 'linear'; found 'tanh'"),
    "norm": (lambda: student(norm="sideways"), "norm must be .*found 'sideways'"),
    "student inputs NaN": (lambda: student()(np.full((1, 4, 2), NAN)), r"inputs\[0, 0, 0\] must be finite; found nan"),
    "student inputs shape": (lambda: student()(np.ones((1, 4, 3))), r"inputs must have shape \(any, 4, 2\); found \(1, 4, 3\)"),
    "propagate labels": (lambda: student().propagate(np.ones((1, 4, 2)), [2]), r"labels must hold class indices between 0 and 1; entry \[0\] is 2"),
    "no such member": (lambda: student(ensemble=(2,)).member(2), "index.* must be between 0 and 1; found 2"),
    "member of one": (lambda: student().member(0), r"member must have one index per axis of the ensemble \(\); found \(0,\)"),
    # expansion
    "other hierarchy": (lambda: tsf.expand(student(), latent(hierarchy=H.tree(3))), "student and teacher must stand on the same hierarchy; found .*4 - 2 - 1.* and .*8 - 4 - 2 - 1"),
    "features that do not match": (lambda: tsf.expand(student(widths=[3, 3, 2]), latent()), r"widths\[0\] of the student must be the teacher's number of features, 2; found 3"),
    "classes that do not match": (lambda: tsf.expand(student(widths=[2, 3, 4]), latent()), r"widths\[-1\] of the student must be the teacher's number of classes, 2; found 4"),
    "classes of a ladder": (lambda: tsf.measure(student(hierarchy=TREE, widths=[1, 5]), ladder()), "number of classes, 2; found 5"),
    "classes in residuals": (lambda: tsf.residuals(student(hierarchy=TREE, widths=[1, 5]), ladder()), "number of classes, 2; found 5"),
    "gates' name": (lambda: tsf.expand(student(), latent(), gates="median"), 'gates must be "mean" or a list by level of tables D; found \'median\''),
    "gates' entries": (lambda: tsf.expand(student(), latent(), gates=[None]), "gates must have 3 entries, one a level; found 1"),
    "gates' shape": (lambda: tsf.expand(student(), latent(), gates=[None, np.ones((2, 2, 2)), None]), r"gates\[1\] must .*\(2, 2, 3\); found \(2, 2, 2\)"),
    "gates' ensemble": (lambda: tsf.expand(student(ensemble=(3,)), latent(), gates=[None, np.ones((5, 2, 2, 3)), None]), r"gates\[1\] must .*\(3,.*\(5, 2, 2, 3\)"),
    "gates above 1": (lambda: tsf.expand(student(), latent(), gates=[None, np.full((2, 2, 3), 1.5), None]), r"gates\[1\]\[0, 0, 0\] must lie in \[0, 1\]; found 1.5"),
    "update before backward": (lambda: tsf.weight_update(tsf.expand(student(), latent()), latent()), "expansion must (hold G; found None|come from backward)"),
    "bias update before backward": (lambda: tsf.bias_update(tsf.expand(student(), latent()), latent()), "expansion must (hold G; found None|come from backward)"),
}

WRONG_TYPE = {
    "hierarchy of a teacher": (lambda: tsf.Teacher(None, [None, HALF], [None, KEEP]), "hierarchy must be a Hierarchy; found NoneType"),
    "hierarchy of a latent tree": (lambda: latent(hierarchy=3), "hierarchy must be a Hierarchy; found int"),
    "hierarchy of a ladder": (lambda: ladder(hierarchy="tree"), "hierarchy must be a Hierarchy; found str"),
    "hierarchy of k-means": (lambda: kmeans(hierarchy=None), "hierarchy must be a Hierarchy; found NoneType"),
    "hierarchy of a student": (lambda: student(hierarchy=latent()), "hierarchy must be a Hierarchy; found Teacher"),
    "children": (lambda: H(torch.zeros(2, 2)), "children must be a list by level; found Tensor"),
    "float children": (lambda: H([None, [[0.0, 1.0]]]), r"children\[1\] must hold integers; found torch.float"),
    "ragged children": (lambda: H([None, [[0, 1], [2]], [[0, 1]]]), r"children\[1\] must be an array of integers; found list"),
    "float leaves": (lambda: H([None, [[0, 1]]], leaves=2.0), "leaves must be an int; found float 2.0"),
    "float depth": (lambda: H.tree(2.0), "depth must be an int; found float 2.0"),
    "boolean branching": (lambda: H.tree(2, True), "branching must be an int; found bool True"),
    "text stride": (lambda: H.pyramid(4, 2, "1"), "stride must be an int; found str '1'"),
    "prior": (lambda: tsf.Teacher(TREE, 0.5, [None, KEEP]), "prior must be a list by level; found float"),
    "text in a table": (lambda: tsf.Teacher(TREE, [None, HALF], [None, [["a"]]]), r"P\[1\] must be an array of numbers; found list"),
    "complex table": (lambda: tsf.Teacher(TREE, [None, HALF], [None, KEEP + 0j]), r"P\[1\] must be .*complex128"),
    "text polarity": (lambda: latent(polarity="high"), "polarity must be a number; found str 'high'"),
    "float states": (lambda: latent(states=2.0), "states must be an int; found float 2.0"),
    "seed None": (lambda: latent(seed=None), "seed must be an int or a torch.Generator; found NoneType None"),
    "seed float": (lambda: student(seed=0.5), "seed must be an int or a torch.Generator; found float 0.5"),
    "seed text": (lambda: latent().sample(1, seed="0"), "seed must be an int or a torch.Generator; found str '0'"),
    "seed bool": (lambda: ladder().sample(1, seed=True), "seed must be an int or a torch.Generator; found bool True"),
    "seed of numpy": (lambda: kmeans(seed=np.random.default_rng(0)), "seed must be an int or a torch.Generator; found Generator"),
    "float sample": (lambda: latent().sample(1.0, seed=0), "n must be an int; found float 1.0"),
    "float labels": (lambda: ladder(labels=[0.0, 1.0, 1.0]), "labels must hold integers; found torch.float"),
    "boolean labels": (lambda: ladder(labels=[False, True, True]), "labels must hold integers; found torch.bool"),
    "no labels": (lambda: ladder(labels=None), "labels must be an array of integers; found NoneType"),
    "text weights": (lambda: ladder(weights="even"), "weights must be an array of numbers; found str"),
    "text classes": (lambda: ladder(classes="2"), "classes must be an int; found str '2'"),
    "ragged inputs": (lambda: ladder(inputs=[[[1]], [[1], [2]]]), "inputs must be an array of numbers; found list"),
    "complex inputs": (lambda: ladder(inputs=np.ones((3, 2, 1)) * 1j), "inputs must be .*complex128"),
    "float summaries": (lambda: coarse([np.zeros((3, 2)), np.zeros((3, 1), int)]), r"summaries\[0\] must hold integers; found torch.float64"),
    "summaries": (lambda: coarse(7), "summaries must be a list by level.*; found int"),
    "enumerated": (lambda: tsf.Ladder.enumerate(ladder()), "teacher must be a Teacher; found Ladder"),
    "widths": (lambda: student(widths=3), "widths must be a list by level; found int"),
    "float width": (lambda: student(widths=[2, 3.0, 2]), r"widths\[1\] must be an int; found float 3.0"),
    "ensemble": (lambda: student(ensemble=3), "ensemble must be a tuple of sizes; found int 3"),
    "float ensemble": (lambda: student(ensemble=(2.0,)), r"ensemble\[0\] must be an int; found float 2.0"),
    "bias": (lambda: student(bias=1), "bias must be True or False; found 1"),
    "student inputs": (lambda: student()(None), "inputs must be an array of numbers; found NoneType"),
    "expand a teacher": (lambda: tsf.expand(latent(), latent()), "student must be a Student; found Teacher"),
    "expand on a ladder": (lambda: tsf.expand(student(), ladder()), "teacher must be a Teacher; found Ladder"),
    "measure on a teacher": (lambda: tsf.measure(student(), latent()), "ladder must be a Ladder; found Teacher"),
    "residuals on a teacher": (lambda: tsf.residuals(student(), latent()), "ladder must be a Ladder; found Teacher"),
    "backward of a list": (lambda: tsf.backward([1], student(), latent()), "expansion must be an? Expansion; found list"),
    "update of a list": (lambda: tsf.weight_update([1], latent()), "expansion must be an? Expansion; found list"),
    "bias update of None": (lambda: tsf.bias_update(None, latent()), "expansion must be an? Expansion; found NoneType"),
    "loss of None": (lambda: tsf.reduced_loss(None, latent()), "expansion must be an? Expansion; found NoneType"),
    "update on a ladder": (lambda: tsf.weight_update(expansion(), ladder()), "teacher must be a Teacher; found Ladder"),
    "loss on None": (lambda: tsf.reduced_loss(expansion(), None), "teacher must be a Teacher; found NoneType"),
    "dtypes": (lambda: tsf.expand(student(), latent().to(torch.float32)), "student and teacher must have one dtype; found torch.float64 and torch.float32"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_its_numbers(case):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("case", WRONG_TYPE)
def test_wrong_types_are_named(case):
    call, message = WRONG_TYPE[case]
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize("call", [latent().sample, latent().sample_states, ladder().sample, tsf.Teacher.latent_tree,
                                  tsf.Ladder.kmeans, tsf.Student])
def test_a_seed_is_asked_for_by_name_wherever_something_is_drawn(call):
    seed = inspect.signature(call).parameters["seed"]
    assert seed.kind is seed.KEYWORD_ONLY and seed.default is seed.empty


HUGE = 10**30
TOO_LARGE = {
    "deep tree": lambda: H.tree(HUGE), "tree past 64 bits": lambda: H.tree(64), "wide tree": lambda: H.tree(1, 10**12),
    "long pyramid": lambda: H.pyramid(HUGE, 2, 1), "large pyramid": lambda: H.pyramid2d(HUGE, 2, 1),
    "leaves": lambda: H([None, [[0, 1]]], leaves=10**12), "child index": lambda: H([None, [[0, 10**12]]]),
    "states": lambda: latent(states=HUGE), "drawn states": lambda: latent(states=HUGE, polarity=None),
    "polarity": lambda: latent(polarity=10**400), "sample": lambda: latent().sample(HUGE, seed=0),
    "ladder sample": lambda: ladder().sample(HUGE, seed=0), "width": lambda: student(widths=[2, HUGE, 2]),
    "ensemble": lambda: student(ensemble=(HUGE,)), "label": lambda: ladder(labels=[0, 1, HUGE]),
    "classes": lambda: ladder(classes=HUGE).teacher(), "code": lambda: coarse([[[0, 2**62]] * 3, [[2**62]] * 3]).teacher(),
    "rate": lambda: tsf.train(student(), latent(), steps=1, lr=10**400),
    "batch": lambda: tsf.train(student(), latent().sample, steps=1, lr=0.1, batch=HUGE, seed=0),
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_numbers_too_large_are_refused_before_any_memory_is_taken(case):
    with pytest.raises((ValueError, TypeError), match="must"):
        TOO_LARGE[case]()


# ---- random garbage at every public name -------------------------------------------------------------------------

AWKWARD = [None, "", "mean", b"x", NAN, INF, -INF, -1, 0, 1, 2, 3, 10**12, 10**30, 0.5, 1.0, 1.5, -0.0, 1e-300, 1e308, True,
           False, 1j, [], (), {}, {1, 2}, [[]], [None], [None, None], [None, None, None], [1, 2, 3], [2, 3, 2], [[1], [1, 2]],
           [NAN, 1], [None, [[0, 1]]], [None, [[0, 1], [2, 3]], [[0, 1]]], "abc", object(), range(3), Ellipsis,
           np.array(3), np.array(2.5), np.arange(4), np.array(["a"]), np.array([None]), np.eye(2), np.float32(0.25),
           np.int8(-3), np.ones((2, 2, 2)), np.zeros((0, 2, 1)), np.full((3, 2, 1), NAN), np.ones((3, 4, 4)),
           torch.tensor(3), torch.tensor(0.5), torch.tensor([NAN]), torch.zeros(0), torch.eye(2), torch.ones(3, 2, 1),
           torch.zeros(2, 2, dtype=torch.bool), torch.ones(2, dtype=torch.complex64), torch.ones(3, dtype=torch.int8),
           torch.ones(3, 2, 1, dtype=torch.float16), torch.ones(3, 2, 1, requires_grad=True), torch.eye(2).to_sparse(),
           torch.Generator().manual_seed(0), H.tree(1), latent(), ladder(), student(), tsf.expand(student(), latent()),
           [torch.ones(2, 2), None, "x"], [np.ones((2, 2, 3)), np.ones((1, 2, 2)), 3.0], lambda *a, **k: None]


def garbage():
    one = st.integers(0, len(AWKWARD) - 1).map(AWKWARD.__getitem__)
    numbers = st.one_of(st.integers(-3, 5), st.floats(width=32), st.booleans(), st.none())
    arrays = st.builds(lambda shape, rng, kind: np.asarray(rng.normal(size=shape) * 3).astype(kind), st.lists(st.integers(0, 3), max_size=4),
                       rngs(), st.sampled_from([np.float64, np.float32, np.int64, np.int8, np.bool_, np.complex128]))
    return st.one_of(one, one, numbers, st.recursive(numbers, lambda x: st.lists(x, max_size=3), max_leaves=6), arrays,
                     arrays.map(torch.from_numpy), st.lists(st.one_of(one, arrays), max_size=3))


def good_calls():
    """Every public name with arguments that work."""
    s, t, lad = student(), latent(), ladder()
    one = student(hierarchy=TREE, widths=[1, 2])
    e = tsf.backward(tsf.expand(s, t), s, t)
    data = dict(hierarchy=TREE, inputs=np.arange(6.0).reshape(3, 2, 1), labels=[0, 1, 1], weights=[1.0, 0.0, 2.0], classes=2)
    prior, P = [None, torch.tensor([[0.25, 0.75]], dtype=torch.float64)], [None, torch.tensor(KEEP)]
    return {
        "Hierarchy": (H, dict(children=[None, [[0, 1], [1, 2]], [[0, 1]]], leaves=3)),
        "Hierarchy.tree": (H.tree, dict(depth=2, branching=2)),
        "Hierarchy.pyramid": (H.pyramid, dict(length=4, window=2, stride=1)),
        "Hierarchy.pyramid2d": (H.pyramid2d, dict(side=3, window=2, stride=1, levels=1)),
        "Hierarchy.parents": (PYRAMID.parents, dict(level=1)),
        "Hierarchy.field": (PYRAMID.field, dict(level=1, region=1)),
        "Teacher": (tsf.Teacher, dict(hierarchy=TREE, prior=prior, P=P, features=torch.ones(2, 2, 1), target=torch.eye(2))),
        "Teacher.latent_tree": (tsf.Teacher.latent_tree, dict(hierarchy=H.tree(2), states=2, polarity=0.5, seed=0)),
        "Teacher.sample": (t.sample, dict(n=3, seed=0)), "Teacher.sample_states": (t.sample_states, dict(n=3, seed=0)),
        "Ladder.finest": (tsf.Ladder.finest, data),
        "Ladder.coarse": (tsf.Ladder.coarse, data | dict(summaries=[[[0, 0], [1, 0], [1, 1]], [[0], [1], [1]]])),
        "Ladder.kmeans": (tsf.Ladder.kmeans, dict(hierarchy=DIGITS, images=np.arange(48.0).reshape(3, 4, 4), labels=[0, 1, 1],
                                                  states=[2, 2], seed=0)),
        "Ladder.enumerate": (tsf.Ladder.enumerate, dict(teacher=t, limit=1000)),
        "Ladder.sample": (lad.sample, dict(n=3, seed=0, many=(2,), replace=True)),
        "Student": (tsf.Student, dict(hierarchy=H.tree(2), widths=[2, 3, 2], ensemble=(2,), activation="relu", norm=None,
                                      bias=True, seed=0)),
        "student()": (s, dict(inputs=np.ones((3, 4, 2)))),
        "Student.propagate": (s.propagate, dict(inputs=np.ones((3, 4, 2)), labels=[0, 1, 1], weights=[0.5, 0.0, 0.5])),
        "BatchNorm": (tsf.BatchNorm, dict(place="after", scale=True, eps=0.1, top=True)),
        "BatchNorm.value": (tsf.BatchNorm().value, dict(f=[[1.0, 2.0], [3.0, 5.0]], p=[0.25, 0.75])),
        "BatchNorm.back": (tsf.BatchNorm().back, dict(f=[[1.0, 2.0], [3.0, 5.0]], g=[[1.0, 0.0], [2.0, 1.0]], p=[0.5, 0.5])),
        "expand": (tsf.expand, dict(student=s, teacher=t, gates="mean")),
        "backward": (tsf.backward, dict(expansion=tsf.expand(s, t), student=s, teacher=t)),
        "weight_update": (tsf.weight_update, dict(expansion=e, teacher=t)),
        "bias_update": (tsf.bias_update, dict(expansion=e, teacher=t)),
        "reduced_loss": (tsf.reduced_loss, dict(expansion=e, teacher=t)),
        "measure": (tsf.measure, dict(student=one, ladder=lad)),
        "residuals": (tsf.residuals, dict(student=one, ladder=lad, gates="mean")),
        "margins": (tsf.margins, dict(A=[[1.0, 0], [0.5, 0.5], [0, 1]], prior=[0.5, 0.0, 0.5])),
        "vertices": (tsf.vertices, dict(A=np.eye(3), prior=[0.5, 0.25, 0.25], tol=1e-6)),
        "separating_weights": (tsf.separating_weights, dict(A=torch.eye(3), prior=[0.5, 0.0, 0.5], tol=1e-6)),
        "linear_loss": (tsf.linear_loss, dict(A=np.ones((3, 2)), prior=[0.5, 0.0, 0.5])),
        "best_linear": (tsf.best_linear, dict(A=np.ones((3, 2)), prior=[0.5, 0.0, 0.5])),
        "train": (tsf.train, dict(student=one, data=lad, steps=2, lr=0.01, method="sgd", momentum=0.9, batch=2, seed=0,
                                  keep=None, every=1, progress=False)),
        "sharpness": (tsf.sharpness, dict(student=one, data=lad, tol=1e-6, seed=0)),
    }


def numbers_in(x, depth=0):
    """Every tensor in a result."""
    if torch.is_tensor(x):
        yield x
    elif isinstance(x, tsf.Student):
        yield from x.parameters()
    elif isinstance(x, dict):
        for v in x.values():
            yield from numbers_in(v, depth + 1)
    elif isinstance(x, (list, tuple)):
        for v in x:
            yield from numbers_in(v, depth + 1)
    elif isinstance(x, tsf.Ladder):
        yield from numbers_in([x.inputs, x.labels, x.weights, x.codes, x.teacher()])
    elif dataclasses.is_dataclass(x):
        yield from numbers_in([getattr(x, f.name) for f in dataclasses.fields(x)])
        if isinstance(x, tsf.Teacher):
            yield from numbers_in(x.reverse)


def fingerprint(x):
    """Something that changes when a value does (in place)."""
    if torch.is_tensor(x):
        return (str(x.dtype), tuple(x.shape), x.detach().to_dense().numpy().tobytes())
    if isinstance(x, np.ndarray):
        return (x.dtype.str, x.shape, x.tobytes() if x.dtype != object else repr(x))
    if isinstance(x, (list, tuple)):
        return (type(x), [fingerprint(v) for v in x])
    if isinstance(x, (tsf.Hierarchy, tsf.Teacher, tsf.Ladder, tsf.Expansion)):
        return [fingerprint(getattr(x, f.name)) for f in dataclasses.fields(x)]
    if isinstance(x, tsf.Student):
        return [fingerprint(p) for p in x.parameters()]
    return x if isinstance(x, (int, str, bool)) else repr(x)


def attempt(name, **spoiled):
    """Run it; anything but finite results or a ValueError or TypeError that says what must be is a failure."""
    call, arguments = CALLS[name][0], CALLS[name][1] | spoiled
    if name == "train":
        if isinstance(arguments["student"], tsf.Student):                # trained in place: a student of its own
            arguments["student"] = copy.deepcopy(arguments["student"])
        if isinstance(arguments["steps"], int):                          # many steps are no mistake, only long
            arguments["steps"] = min(arguments["steps"], 3)
    before = {k: fingerprint(v) for k, v in arguments.items()}
    try:
        result = call(**arguments)
    except (ValueError, TypeError) as error:
        theirs = any(isinstance(x, tsf.Student) and k in ("summaries", "data", "keep") for k, x in spoiled.items())
        assert "must" in str(error) or "needs" in str(error) or theirs, f"says not what is wanted: {error!r}"
        result = None
    for x in numbers_in(result):
        assert not x.is_floating_point() or torch.isfinite(x).all(), "a result is not finite"
    for k, v in arguments.items():
        if not isinstance(v, torch.Generator) and (name, k) != ("train", "student"):
            assert fingerprint(v) == before[k], f"{k} was changed"


CALLS = good_calls()
NAMES = sorted(CALLS)


@pytest.mark.parametrize("name", NAMES)
def test_the_arguments_to_spoil_are_good(name):
    call, arguments = CALLS[name][0], CALLS[name][1]
    arguments = copy.deepcopy(arguments) if name == "train" else arguments
    given_fields = {p for p in inspect.signature(call).parameters} - {"args", "kwargs"}
    assert given_fields <= set(arguments) | {"input"}, "every argument is there to be spoiled"
    assert call(**arguments) is not None


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=30)
def test_garbage_in_one_argument(name, data):
    spoiled = data.draw(st.sampled_from(sorted(CALLS[name][1])))
    attempt(name, **{spoiled: data.draw(garbage())})


@given(st.data())
@settings(max_examples=100)
def test_garbage_in_several_arguments(data):
    name = data.draw(st.sampled_from(NAMES))
    names = st.lists(st.sampled_from(sorted(CALLS[name][1])), min_size=1, max_size=4, unique=True)
    attempt(name, **{spoiled: data.draw(garbage()) for spoiled in data.draw(names)})


def spoil_each(attempt, name, arguments, values):
    """Every value in the place of every argument."""
    for spoiled in arguments:
        for value in values:
            try:
                attempt(name, **{spoiled: value})
            except Exception as error:
                error.add_note(f"in {name}({spoiled}={value!r})")
                raise


@pytest.mark.parametrize("name", NAMES)
def test_every_awkward_object_in_every_argument(name):
    spoil_each(attempt, name, CALLS[name][1], AWKWARD)


# ---- good objects, spoiled in one entry --------------------------------------------------------------------------

@given(latent_teachers(), st.data())
@few(40)
def test_one_bad_entry_in_a_good_teacher_is_found_and_named(teacher, data):
    rng, bad = data.draw(rngs()), data.draw(st.sampled_from([NAN, INF, -0.25, 1.75]))
    level = data.draw(st.integers(1, teacher.hierarchy.depth))
    P = [None if p is None else p.clone() for p in teacher.P]
    where = tuple(int(rng.integers(n)) for n in P[level].shape)
    P[level][where] = bad
    named = rf"P\[{level}\]\[{where[0]}, {where[1]}" + ("" if bad == 1.75 else rf", {where[2]}, {where[3]}") + r"\]"
    with pytest.raises(ValueError, match=named + " must (be finite|not be negative|have rows that sum to 1)"):
        tsf.Teacher(teacher.hierarchy, teacher.prior, P, teacher.features, teacher.target)


@given(hierarchies().flatmap(either_ladder), st.data())
@few(40)
def test_one_bad_entry_in_good_rows_is_found_and_named(lad, data):
    rng, n = data.draw(rngs()), len(lad.labels)
    row, leaf = int(rng.integers(n)), int(rng.integers(lad.hierarchy.leaves))
    inputs, labels, weights = lad.inputs.clone(), lad.labels.clone(), lad.weights.clone()
    what = data.draw(st.sampled_from(["inputs", "labels", "weights"]))
    if what == "inputs":
        inputs[row, leaf, 0] = data.draw(st.sampled_from([NAN, INF, -INF]))
        message = rf"inputs\[{row}, {leaf}, 0\] must be finite"
    elif what == "labels":
        labels[row] = data.draw(st.sampled_from([-1, lad.classes, 99]))
        message = rf"labels must hold class indices between 0 and {lad.classes - 1}; entry \[{row}\] is {labels[row]}"
    else:
        weights[row] = data.draw(st.sampled_from([NAN, INF, -0.5]))
        message = rf"weights\[{row}\] must (be finite|not be negative)"
    for make, extra in ((tsf.Ladder.finest, {}), (tsf.Ladder.coarse, dict(summaries=lad.codes))):
        with pytest.raises(ValueError, match=message):
            make(lad.hierarchy, inputs, labels, weights=weights, classes=lad.classes, **extra)


@given(hierarchies(), st.data())
@few(40)
def test_one_bad_child_in_a_good_hierarchy_is_found_and_named(h, data):
    level, rng = data.draw(st.integers(1, h.depth)), data.draw(rngs())
    children = [None] + [c.clone() for c in h.children[1:]]
    r, c = (int(rng.integers(n)) for n in children[level].shape)
    bad = data.draw(st.sampled_from([-1, h.regions[level - 1], 10**6]))
    children[level][r, c] = bad
    with pytest.raises(ValueError, match=rf"children\[{level}\] must hold region indices .*; entry \[{r}, {c}\] is {bad}"):
        H(children, leaves=h.leaves)


@given(scenes(either_ladder, ensembles=((), (2,))), st.data())
@few(30)
def test_a_student_that_does_not_fit_is_refused_everywhere(scene, data):
    lad, s = scene
    widths = list(s.widths)
    level = data.draw(st.sampled_from([0, -1]))
    widths[level] += data.draw(st.integers(1, 3))
    other = tsf.Student(s.hierarchy, widths, ensemble=s.ensemble, seed=0)
    what = "features" if level == 0 else "classes"
    for call in (lambda: tsf.expand(other, lad.teacher()), lambda: tsf.measure(other, lad), lambda: tsf.residuals(other, lad),
                 lambda: tsf.train(other, lad, steps=1, lr=0.1), lambda: tsf.train(other, lad.teacher(), steps=1, lr=0.1),
                 lambda: tsf.backward(tsf.expand(s, lad.teacher()), other, lad.teacher())):
        with pytest.raises(ValueError, match=rf"widths\[{level}\] .*{what}, {s.widths[level]}; found {widths[level]}"):
            call()


def test_an_expansion_of_another_student_is_refused():
    t, deep = latent(), latent(hierarchy=H.tree(3))
    e = tsf.expand(student(), t)
    with pytest.raises(ValueError, match="must"):
        tsf.backward(e, student(hierarchy=H.tree(3), widths=[2, 3, 3, 2]), deep)
    with pytest.raises(ValueError, match="must"):
        tsf.backward(e, student(widths=[2, 5, 2]), t)
    with pytest.raises(ValueError, match="must"):
        tsf.weight_update(tsf.backward(e, student(), t), deep)
    with pytest.raises(ValueError, match="must"):
        tsf.reduced_loss(e, latent(hierarchy=H.tree(3), states=3))
