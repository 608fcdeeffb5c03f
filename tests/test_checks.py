"""The checks by themselves: what they take, what they refuse, and that a message names object, requirement and numbers."""
import fractions

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsframe import _checks as check
from strategies import few, rngs


@given(st.lists(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=2, max_size=2), min_size=1, max_size=4))
def test_real_keeps_every_digit_and_refuses_what_is_not_finite(rows):
    if np.isfinite(rows).all():
        for given_as in (rows, tuple(map(tuple, rows)), np.array(rows), torch.tensor(rows, dtype=torch.float64)):
            x = check.real("x", given_as, (None, 2))
            assert x.dtype == torch.float64 and x.tolist() == rows
    else:
        r, c = np.argwhere(~np.isfinite(rows))[0]
        with pytest.raises(ValueError, match=rf"^x\[{r}, {c}\] must be finite; found (nan|-?inf)$"):
            check.real("x", rows)


@pytest.mark.parametrize("value, dtype", [
    (torch.ones(2), torch.float32), (torch.ones(2, dtype=torch.float16), torch.float64),
    (torch.ones(2, dtype=torch.long), torch.float64), (torch.ones(2, dtype=torch.bool), torch.float64),
    ([1, 2], torch.float64), (range(2), torch.float64), (np.ones(2, np.float16), torch.float64), (3, torch.float64)])
def test_real_is_float64_unless_a_float_tensor_says_otherwise(value, dtype):
    assert check.real("x", value).dtype == dtype
    assert check.real("x", value, dtype=torch.float32).dtype == torch.float32


@pytest.mark.parametrize("value", [None, "ab", [1, "a"], [[1], [1, 2]], object(), {1: 2}, [None], 1j, [1j],
                                   torch.ones(2, dtype=torch.complex128), np.array(["a"]), np.array([None]), {1, 2}])
def test_real_refuses_what_is_no_array_of_numbers(value):
    with pytest.raises(TypeError, match="^x must be (an array of numbers|real); found "):
        check.real("x", value)


def test_shapes_are_named_with_what_was_found():
    with pytest.raises(ValueError, match=r"^x must have shape \(any, 3\); found \(2, 4\)$"):
        check.real("x", np.ones((2, 4)), (None, 3))
    with pytest.raises(ValueError, match=r"^x must have shape \(3,\); found \(2, 4\)$"):
        check.real("x", np.ones((2, 4)), (3,))
    with pytest.raises(ValueError, match=r"^x must have shape \(any, any\); found \(\)$"):
        check.integers("x", 3, (None, None))


@given(rngs())
@few(20)
def test_probabilities_are_judged_row_by_row(rng):
    rows = torch.tensor(rng.dirichlet(np.ones(3), size=(2, 4)))
    assert check.probabilities("p", rows) is rows
    table, row = rng.integers(2), rng.integers(4)
    rows[table, row] *= 0.8
    with pytest.raises(ValueError, match=rf"^p\[{table}\] must have rows that sum to 1; row {row} sums to 0\.8$"):
        check.probabilities("p", rows)
    exempt = torch.ones(2, 4, dtype=torch.bool)
    exempt[table, row] = False
    assert check.probabilities("p", rows, exempt) is rows
    rows[table, row, 1] = -0.25
    with pytest.raises(ValueError, match=rf"^p\[{table}, {row}, 1\] must not be negative; found -0\.25$"):
        check.probabilities("p", rows, exempt)
    with pytest.raises(ValueError, match="^p must have entries that sum to 1; they sum to 0.5$"):
        check.probabilities("p", torch.tensor([0.25, 0.25]))


@pytest.mark.parametrize("dtype, off, good", [(torch.float64, 5e-10, True), (torch.float64, 5e-9, False),
                                              (torch.float32, 5e-6, True), (torch.float32, 5e-5, False)])
def test_the_tolerance_is_that_of_the_dtype_and_the_message_shows_the_gap(dtype, off, good):
    rows = torch.tensor([[0.5, 0.5 + off]], dtype=dtype)
    if good:
        check.probabilities("p", rows)
    else:
        with pytest.raises(ValueError, match=r"row 0 sums to 1\.0000\d+$"):
            check.probabilities("p", rows)


@pytest.mark.parametrize("value, error", [(0, ValueError), (6, ValueError), (-1, ValueError), (2.0, TypeError),
                                          (True, TypeError), ("2", TypeError), (None, TypeError),
                                          (torch.tensor(2.0), TypeError), (10**40, ValueError)])
def test_count(value, error):
    assert check.count("n", 3, 1, 5) == 3 and type(check.count("n", np.int32(3), 1, 5)) is int
    with pytest.raises(error, match=r"^n must be (an int|between 1 and 5); found ") as caught:
        check.count("n", value, 1, 5)
    assert str(value) in str(caught.value)


@pytest.mark.parametrize("value, error", [(1.5, ValueError), (-0.1, ValueError), (float("nan"), ValueError),
                                          (float("inf"), ValueError), (True, TypeError), ("1", TypeError),
                                          (None, TypeError), (1j, TypeError),
                                          pytest.param(10**400, ValueError, id="huge")])
def test_number(value, error):
    assert check.number("x", 1, 0, 1) == 1.0 and check.number("x", np.float32(0.5), 0, 1) == 0.5
    assert check.number("x", fractions.Fraction(1, 2), 0, 1) == 0.5
    with pytest.raises(error, match="^x must "):
        check.number("x", value, 0, 1)


@pytest.mark.parametrize("value, error, found", [
    ([[0, 3]], ValueError, r"between 0 and 2; entry \[0, 1\] is 3"), ([[-1, 0]], ValueError, r"entry \[0, 0\] is -1"),
    ([[0.0, 1.0]], TypeError, "found torch.float"), ([[True, False]], TypeError, "found torch.bool"),
    ("ab", TypeError, "found str"), (None, TypeError, "found NoneType"), ([[0], [1, 2]], TypeError, "found list"),
    ([[10**40]], (TypeError, ValueError), "found|is")])
def test_integers(value, error, found):
    for good in ([[0, 1, 2]], np.array([[0, 2]], np.uint8), torch.tensor([[1]], dtype=torch.int16)):
        assert check.integers("z", good, (1, None), 2).dtype == torch.long
    with pytest.raises(error, match="^z must .*" + found):
        check.integers("z", value, most=2, what="codes")


@pytest.mark.parametrize("value, error", [(None, TypeError), (1.0, TypeError), ("1", TypeError), (True, TypeError),
                                          (-1, ValueError), (2**63, ValueError), (np.random.default_rng(0), TypeError)])
def test_seeds(value, error):
    rng = torch.Generator().manual_seed(3)
    assert check.generator(rng) is rng and check.generator(7).initial_seed() == 7
    assert check.generator(np.int64(7)).initial_seed() == 7 and check.generator(2**63 - 1)
    with pytest.raises(error, match="^seed must (be an int or a torch.Generator|lie between 0 and 2.*); found "):
        check.generator(value)


@pytest.mark.parametrize("value, error, found", [
    ([None, 1], ValueError, "must have 3 entries, one a level; found 2"), ([1, 2, 3], ValueError, r"x\[0\] must be None"),
    ("abc", TypeError, "must be a list by level; found str"), (torch.ones(3), TypeError, "found Tensor"),
    (np.ones(3), TypeError, "found ndarray"), (None, TypeError, "found NoneType")])
def test_lists_by_level(value, error, found):
    assert check.levels("x", (None, 1, 2), 2) == [None, 1, 2]
    with pytest.raises(error, match=found):
        check.levels("x", value, 2)


def test_choices_are_listed():
    assert check.choice("method", "sgd", ("sgd", None)) == "sgd" and check.choice("method", None, ("sgd", None)) is None
    for value in ("SGD", 0, ["sgd"], float("nan"), np.ones(2)):
        with pytest.raises(ValueError, match="^method must be one of 'sgd', None; found "):
            check.choice("method", value, ("sgd", None))
