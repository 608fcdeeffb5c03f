"""Floor 0. One home for the checks of shapes, probabilities, codes and seeds, and for their wording.

Every message names the object, the requirement and the numbers found. Values are checked once, where an object
is built; nothing is checked again inside the recursion.
"""
import math
import numbers

import torch

FLOATS = (torch.float32, torch.float64)
MOST = 2**30                            # entries of one tensor; more is a slip, not a model


def at(name, index):
    """`P[2]` and (0, 1) -> `P[2][0, 1]`; an empty index leaves the name alone."""
    return f"{name}[{', '.join(str(int(i)) for i in index)}]" if len(index) else name


def first(bad):
    """Index of the first True entry of a boolean tensor."""
    return tuple(bad.nonzero()[0].tolist())


def instance(name, value, kind):
    """`value`, an instance of the class `kind`."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}; found {type(value).__name__}")
    return value


def count(name, value, least=1, most=MOST):
    """`value` as an int between `least` and `most`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an int; found {type(value).__name__} {value!r}")
    if not least <= value <= most:
        bound = f"at least {least}" if most == MOST and value < least else f"between {least} and {most}"
        raise ValueError(f"{name} must be {bound}; found {value}")
    return int(value)


def size(name, *dims):
    """Raise where a tensor of these dimensions would hold more than `MOST` entries."""
    if math.prod(dims) > MOST:
        raise ValueError(f"{name} must hold at most {MOST} numbers; found {' x '.join(map(str, dims))}")


def number(name, value, least=None, most=None, positive=False):
    """`value` as a finite float inside the closed range, or above 0 where `positive`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number; found {type(value).__name__} {value!r}")
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite; found {value}")
    if positive and value <= 0:
        raise ValueError(f"{name} must be positive; found {value:g}")
    if (least is not None and value < least) or (most is not None and value > most):
        bound = (f"lie in [{least:g}, {most:g}]" if None not in (least, most) else
                 f"be at least {least:g}" if most is None else f"be at most {most:g}")
        raise ValueError(f"{name} must {bound}; found {value:g}")
    return value


def choice(name, value, options):
    """`value`, one of `options`."""
    if not any(value is o or (isinstance(value, str) and value == o) for o in options):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}; found {value!r}")
    return value


def levels(name, value, depth, first_is_none=True):
    """`value` as a list of depth+1 entries, entry 0 being None where the convention says so."""
    if torch.is_tensor(value) or not isinstance(value, (list, tuple)):
        raise TypeError(f"{name} must be a list by level; found {type(value).__name__}")
    if len(value) != depth + 1:
        raise ValueError(f"{name} must have {depth + 1} entries, one a level; found {len(value)}")
    if first_is_none and value[0] is not None:
        raise ValueError(f"{name}[0] must be None: leaves have no children")
    return list(value)


def shaped(name, x, shape):
    """Raise unless `x.shape` is `shape`; None stands for any size."""
    if x.ndim != len(shape) or any(s is not None and s != d for s, d in zip(shape, x.shape)):
        want = "(" + ", ".join("any" if s is None else str(s) for s in shape) + ("," if len(shape) == 1 else "") + ")"
        raise ValueError(f"{name} must have shape {want}; found {tuple(x.shape)}")
    return x


def sizes(name, value):
    """`value` as a tuple of sizes of axes, each at least 1."""
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{name} must be a tuple of sizes; found {type(value).__name__} {value!r}")
    return tuple(count(f"{name}[{i}]", n) for i, n in enumerate(value))


def finite_loss(loss, step, lr):
    """Raise unless the losses of all students are finite."""
    if not torch.isfinite(loss).all():
        who = f" of students {(~torch.isfinite(loss)).nonzero().tolist()}" if loss.ndim else ""
        raise ValueError(f"training must keep the loss finite; at step {step} the loss{who} is not, with lr={lr:g}")


def broadcast(name, a, b):
    """The common shape of leading axes a and b."""
    try:
        return tuple(torch.broadcast_shapes(a, b))
    except RuntimeError:
        raise ValueError(f"{name} must be axes of one size, or 1; found {tuple(a)} and {tuple(b)}") from None


def _dense(name, value):
    if torch.is_tensor(value) and value.layout != torch.strided:
        raise TypeError(f"{name} must be a dense array; found layout {value.layout}")


def flag(name, value):
    """`value`, True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False; found {value!r}")
    return value


def real(name, value, shape=None, dtype=None, device=None):
    """`value` as a finite float tensor (float64 unless it is a float tensor already, or `dtype` says)."""
    _dense(name, value)
    keep = torch.is_tensor(value) and value.dtype in FLOATS or getattr(value, "dtype", None) == "float32"
    try:                                        # straight to float64: a list must not pass through float32
        x = torch.as_tensor(value)
        if not (keep or x.is_complex() or hasattr(value, "dtype")):
            x = torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TypeError(f"{name} must be an array of numbers; found {type(value).__name__} ({error})") from None
    if x.is_complex():
        raise TypeError(f"{name} must be real; found {x.dtype}")
    x = x.to(dtype=dtype or (x.dtype if keep else torch.float64), device=device)
    if shape is not None:
        shaped(name, x, shape)
    bad = ~torch.isfinite(x.detach())
    if bad.any():
        raise ValueError(f"{at(name, first(bad))} must be finite; found {x[first(bad)].item()}")
    return x


def nonnegative(name, x):
    """Raise where an entry of `x` is below 0."""
    bad = x.detach() < 0
    if bad.any():
        raise ValueError(f"{at(name, first(bad))} must not be negative; found {x[first(bad)].item():g}")
    return x


def tolerance(x):
    """How far probabilities of this dtype may be off before they count as contradictory."""
    return 1e-9 if x.dtype == torch.float64 else 1e-5


def probabilities(name, x, rows=None):
    """Raise unless the last axis of `x` holds probabilities; `rows` (bool) restricts the sum check."""
    nonnegative(name, x)
    total = x.detach().sum(-1)
    bad = (total - 1).abs() > tolerance(x)
    if rows is not None:
        bad &= rows
    if bad.any():
        *table, row = first(bad) or (None,)
        what = f"rows that sum to 1; row {row} sums" if row is not None else "entries that sum to 1; they sum"
        raise ValueError(f"{at(name, table)} must have {what} to {total[bad][0].item():.10g}")
    return x


def integers(name, value, shape=None, most=None, what="codes"):
    """`value` as a long tensor of entries >= 0 (and <= `most`)."""
    _dense(name, value)
    try:
        x = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TypeError(f"{name} must be an array of integers; found {type(value).__name__} ({error})") from None
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        if x.numel():
            raise TypeError(f"{name} must hold integers; found {x.dtype}")
    x = x.long()
    if shape is not None:
        shaped(name, x, shape)
    bad = (x < 0) if most is None else (x < 0) | (x > most)
    if bad.any():
        bound = "0 or more" if most is None else f"between 0 and {most}"
        raise ValueError(f"{name} must hold {what} {bound}; entry {list(first(bad))} is {x[first(bad)].item()}")
    return x


def generator(seed):
    """A `torch.Generator`: `seed` itself if it is one (it advances), else one started from the int `seed`."""
    if isinstance(seed, torch.Generator):
        return seed
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
        raise TypeError(f"seed must be an int or a torch.Generator; found {type(seed).__name__} {seed!r}")
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must lie between 0 and 2**63 - 1; found {seed}")
    return torch.Generator().manual_seed(int(seed))


def same_hierarchy(name, a, other, b):
    """Raise unless two objects stand on the same hierarchy."""
    if a is not b and a != b:
        raise ValueError(f"{name} and {other} must stand on the same hierarchy; found {a} and {b}")
