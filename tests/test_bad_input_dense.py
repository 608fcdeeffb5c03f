"""Garbage thrown at every public name of Part III, by the rules of test_bad_input."""
import dataclasses
import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import test_bad_input as base
import tsframe as tsf
from tsframe import gaussian

AWKWARD = base.AWKWARD + [tsf.dense_student([3, 4, 2], seed=0), tsf.dense_student([1, 1], seed=0), tsf.BatchNorm()]


def good_calls():
    """Every public name with arguments that work."""
    S, T, X = tsf.dense_student([3, 4, 2], seed=0), tsf.dense_teacher([3, 2, 2], seed=0), torch.randn(6, 3).double()
    flat = [tsf.Dense([None, gaussian.at_angles([0.3, 1.0]), torch.full((1, 2), 0.25)]),
            tsf.Dense([None, torch.eye(3).double()[:1], torch.ones(1, 1)])]
    C = tsf.correlation(X, X[:, :2])
    dense = dict(student=S, teacher=T, x=X)
    law = base.latent()
    return {
        "Dense": (tsf.Dense, dict(W=[None, np.ones((2, 3)), np.ones((1, 2))], b=[None, np.ones(2), np.ones(1)], leak=0.1,
                                  norm="after")),
        "dense()": (S, dict(x=X)), "Dense.propagate": (S.propagate, dict(x=X, target=np.ones((6, 2)))),
        "Dense.rows": (S.rows, dict(l=1)), "Dense.fan_out": (S.fan_out, dict(l=1)),
        "dense_student": (tsf.dense_student, dict(widths=[3, 4, 2], ensemble=(2,), init="torch", bias=True, leak=0.0, norm=None,
                                                  dtype=torch.float64, seed=0)),
        "dense_teacher": (tsf.dense_teacher, dict(widths=[3, 4, 2], entries=[0.5, -0.5], bias="uniform", decay=1.0, unit_top=True,
                                                  leak=0.0, dtype=torch.float64, seed=0)),
        "tuned": (tsf.tuned, dict(teacher=tsf.dense_teacher([3, 8, 2], seed=0), x=X)),
        "near_teacher": (tsf.near_teacher, dict(student=S, teacher=T, noise=0.1, seed=0)),
        "normal_inputs": (tsf.normal_inputs, dict(features=3, std=1.0, dtype=torch.float64)),
        "sampler": (tsf.normal_inputs(3), dict(n=4, seed=0)),
        "train_dense": (tsf.train_dense, dict(student=S, teacher=T, data=X, steps=2, lr=0.01, batch=3, seed=0, unit=None,
                                              frozen=(), keep=None, every=1, device=None, progress=False)),
        "gradient_expansion": (tsf.gradient_expansion, dense), "averaged_update": (tsf.averaged_update, dense | dict(layerwise=True)),
        "balance": (tsf.balance, dict(student=S)), "alignment": (tsf.alignment, dict(student=S, teacher=T, tol=1e-3)),
        "small_gradient": (tsf.small_gradient, dense | dict(j=0)), "homogeneous": (tsf.homogeneous, dict(f=X)),
        "fixed_readout": (tsf.fixed_readout, dict(f=X, f0=X[:, :2], V0=np.ones((1, 2)))),
        "angles": (gaussian.angles, dict(W=X, U=X)), "both_on": (gaussian.both_on, dict(W=X, U=X)),
        "kernel": (gaussian.kernel, dict(W=X, U=X, leak=0.1)), "pull": (gaussian.pull, dict(W=X, U=X, leak=0.1, averaged=True)),
        "update": (gaussian.update, dict(student=flat[0], teacher=flat[1], averaged=False)),
        "flow": (gaussian.flow, dict(student=flat[0], teacher=flat[1], time=0.2, step=0.1, unit=True, move_top=True, every=1)),
        "arrival_time": (gaussian.arrival_time, dict(start=1.0, end=0.1)), "at_angles": (gaussian.at_angles, dict(angles=[0.1, 0.2])),
        "overlap": (gaussian.overlap, dict(bias=-0.5, correlation=0.3)),
        "node_correlation": (gaussian.node_correlation, dict(W=X, U=X)),
        "chance_match": (gaussian.chance_match, dict(nodes=3, features=4, level=0.5)),
        "correlation": (tsf.correlation, dict(f=X, f0=X, weights=[0.5, 0.5, 0, 0, 0, 0])),
        "layer_correlations": (tsf.layer_correlations, dense), "contribution": (tsf.contribution, dict(student=S, x=X)),
        "state_correlations": (tsf.state_correlations, dict(student=base.student(hierarchy=base.TREE, widths=[1, 2]), ladder=base.ladder())),
        "table_correlations": (tsf.table_correlations, dict(expansion=tsf.expand(base.student(), law), teacher=law)),
        "best_match": (tsf.best_match, dict(correlation=C)), "assignment": (tsf.assignment, dict(correlation=C)),
        "ranks": (tsf.ranks, dict(before=C, after=C)), "colinear_groups": (tsf.colinear_groups, dict(student=S, l=1, tol=0.1)),
    }


CALLS = good_calls()


def tensors(x):
    if isinstance(x, tsf.Dense):
        x = [*x.W[1:], *(b for b in x.b[1:] if b is not None)]
    if isinstance(x, (list, tuple)):
        for v in x:
            yield from tensors(v)
    elif isinstance(x, gaussian.Flow):
        yield from tensors([getattr(x, f.name) for f in dataclasses.fields(x)])
    elif isinstance(x, float):
        yield torch.tensor(x)
    else:
        yield from base.numbers_in(x)


def fingerprint(x):
    return [base.fingerprint(t.detach()) for t in tensors(x)] if isinstance(x, tsf.Dense) else base.fingerprint(x)


def attempt(name, **spoiled):
    """Finite results, or a ValueError or TypeError that says what must be; arguments stay as they were."""
    call, arguments = CALLS[name][0], CALLS[name][1] | spoiled
    if name == "train_dense" and isinstance(arguments["student"], tsf.Dense):
        arguments["student"] = arguments["student"].copy()
        arguments["steps"] = min(arguments["steps"], 3) if isinstance(arguments["steps"], int) else arguments["steps"]
    if name == "flow" and isinstance(arguments["step"], float) and 0 < arguments["step"] < 1e-2:
        arguments["step"] = 0.01                                    # many steps are no mistake, only long
    if name == "flow" and isinstance(arguments["time"], (int, float)) and abs(arguments["time"]) > 5:
        arguments["time"] = 5.0
    before = {k: fingerprint(v) for k, v in arguments.items()}
    try:
        result = call(**arguments)
    except (ValueError, TypeError) as error:
        assert "must" in str(error) or any(callable(v) for v in spoiled.values()), f"says not what is wanted: {error!r}"
        result = None
    for x in tensors(result):
        assert not x.is_floating_point() or torch.isfinite(x).all(), "a result is not finite"
    for k, v in arguments.items():
        if not isinstance(v, torch.Generator) and (name, k) != ("train_dense", "student"):
            assert fingerprint(v) == before[k], f"{k} was changed"


@pytest.mark.parametrize("name", CALLS)
def test_the_arguments_to_spoil_are_good(name):
    call, arguments = CALLS[name]
    assert call(**arguments | ({"student": arguments["student"].copy()} if name == "train_dense" else {})) is not None


@pytest.mark.parametrize("call", [tsf.dense_student, tsf.dense_teacher, tsf.near_teacher, tsf.normal_inputs(2), tsf.train_dense])
def test_a_seed_is_asked_for_by_name_wherever_something_is_drawn(call):
    seed = inspect.signature(call).parameters["seed"]
    assert seed.kind is seed.KEYWORD_ONLY and seed.default is seed.empty


@pytest.mark.parametrize("name", CALLS)
def test_every_awkward_object_in_every_argument(name):
    base.spoil_each(attempt, name, CALLS[name][1], AWKWARD)


@given(st.data())
@settings(max_examples=300)
def test_garbage_in_several_arguments(data):
    name = data.draw(st.sampled_from(sorted(CALLS)))
    names = st.lists(st.sampled_from(sorted(CALLS[name][1])), min_size=1, max_size=4, unique=True)
    attempt(name, **{spoiled: data.draw(base.garbage()) for spoiled in data.draw(names)})
