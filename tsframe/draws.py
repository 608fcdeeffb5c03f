"""Floor 3.1. Dense teachers and students drawn from a seed, and the inputs that they see."""
import torch

from . import _checks as check
from .dense import Dense, unit_rows

ENTRIES = (-0.5, -0.25, 0.0, 0.25, 0.5)


def dense_student(widths, *, ensemble=(), init="torch", bias=True, leak=0.0, norm=None, dtype=torch.float64, seed):
    """Students of these widths (n_0, ..., n_L), as many as `ensemble` says: a `Dense`.

    init : "torch", weights and biases uniform in ±1/√n_{l-1}, as torch.nn.Linear starts
        "unit", normal rows [W, b] divided by their lengths
        a number, normal weights of that standard deviation and biases 0
    leak, norm : as in `Dense`
    """
    widths, rng, dtype = _widths(widths), check.generator(seed), _float(dtype)
    ensemble = check.sizes("ensemble", ensemble)
    if isinstance(init, str):
        check.choice("init", init, ("torch", "unit"))
    else:
        init = check.number("init", init, 0)
    W, b = [None], [None]
    for l, (n, k) in enumerate(zip(widths[1:], widths), start=1):
        check.size(f"W[{l}]", *ensemble, n, k)
        shape = (*ensemble, n, k + check.flag("bias", bias))
        if init == "torch":
            x = (2 * _uniform(shape, rng) - 1) / k**0.5
        else:
            x = unit_rows(_normal(shape, rng)) if init == "unit" else _normal(shape, rng) * init
        W.append(x[..., :k].to(dtype))
        b.append(x[..., -1].to(dtype) * (1 if isinstance(init, str) else 0) if bias else None)
    return Dense(W, b if bias else None, leak=leak, norm=norm)


def dense_teacher(widths, *, entries=ENTRIES, bias="uniform", decay=0.0, unit_top=True, leak=0.0, dtype=torch.float64,
                  seed):
    """A teacher of these widths, a `Dense`: weights from a short list, rows of length 1, nodes of unequal strength.

    entries : the numbers that a weight may be, or None for normal weights. No row is 0; where inputs are few, two rows
        drawn from a list may be equal
    bias : "uniform", drawn from (-1/2, 1/2) and divided by the length of its row; one number for all nodes; or None
    decay : what goes out of node j = 1, 2, ... of each hidden layer is divided by j^decay, before rows are scaled
    unit_top : whether the rows of the top are scaled, too
    Source: the experiments of Tian et al. (2019) and Tian (2020); chapters `specialization` and `deep`.
    """
    widths, rng, dtype = _widths(widths), check.generator(seed), _float(dtype)
    decay = check.number("decay", decay, 0)
    check.flag("unit_top", unit_top)
    if bias is not None and not isinstance(bias, str):
        bias = check.number("bias", bias)
    elif bias is not None:
        check.choice("bias", bias, ("uniform",))
    if entries is not None:
        entries = check.real("entries", entries, (None,), torch.float64)
        if not entries.any():
            raise ValueError("entries must hold a number other than 0, since no row may be 0")
    W, b = [None], [None]
    for l, (n, k) in enumerate(zip(widths[1:], widths), start=1):
        check.size(f"W[{l}]", n, k)
        w = torch.zeros(n, k, dtype=torch.float64)
        while (zero := ~w.any(-1)).any():
            again = _normal((n, k), rng) if entries is None else entries[(_uniform((n, k), rng) * len(entries)).long()]
            w = torch.where(zero[:, None], again, w)
        if l > 1:
            w = w / torch.arange(1, k + 1, dtype=torch.float64) ** decay
        length = w.norm(dim=-1) if unit_top or l < len(widths) - 1 else torch.ones(n, dtype=torch.float64)
        if not (length > 1e-150).all():
            raise ValueError(f"decay must leave every row a length above 0; at {decay:g} a row of W[{l}] has none")
        W.append((w / length[:, None]).to(dtype))
        drawn = (_uniform((n,), rng) - 0.5) / length
        b.append(None if bias is None else (drawn if bias == "uniform" else torch.full_like(drawn, bias)).to(dtype))
    return Dense(W, None if bias is None else b, leak=leak)


def tuned(teacher, x):
    """The teacher with every hidden node on for half of the inputs x (N, n_0), and outputs of mean 0 and variance 1.

    Nothing else but hidden biases and the top changes. Raises `ValueError` where an output does not vary.
    Source: the experiments of Tian et al. (2019); chapter `deep`.
    """
    check.instance("teacher", teacher, Dense)
    if teacher.norm is not None or teacher.b[1] is None or teacher.ensemble:
        raise ValueError("teacher must be one network with biases and without norm to be tuned; found norm "
                         f"{teacher.norm}, biases {teacher.b[1] is not None}, ensemble {teacher.ensemble}")
    f, b = check.shaped("x", teacher.check_inputs(x), (None, teacher.widths[0])), [None]
    for w in teacher.W[1:-1]:
        h = f @ w.mT
        b.append(-h.quantile(0.5, dim=0))
        f = teacher.activate(h + b[-1])
    y = f @ teacher.W[-1].mT
    std = y.std(dim=0, correction=0)
    still = std <= 1e-12 * y.abs().amax(0)
    if still.any():
        raise ValueError(f"teacher must have outputs that vary over the {len(x)} rows of x to be tuned; output "
                         f"{int(still.nonzero()[0])} does not")
    return Dense(teacher.W[:-1] + [teacher.W[-1] / std[:, None]], b + [-y.mean(0) / std], leak=teacher.leak)


def near_teacher(student, teacher, noise, *, seed):
    """The student with its first nodes near the teacher's: as many of each layer as the teacher has.

    Biases of these nodes, and weights that join two of them, are the teacher's plus noise times a normal number, drawn
    for each student of the ensemble; all other entries stay as they are. Chapter `winners`.
    """
    for name, net in (("student", student), ("teacher", teacher)):
        check.instance(name, net, Dense)
    noise, rng = check.number("noise", noise, 0), check.generator(seed)
    fits = (not teacher.ensemble and teacher.depth == student.depth and (student.b[1] is None) == (teacher.b[1] is None)
            and all(m == n if l in (0, student.depth) else m <= n
                    for l, (m, n) in enumerate(zip(teacher.widths, student.widths))))
    if not fits:
        raise ValueError("teacher must be one network with the student's inputs, outputs and biases, and no wider; "
                         f"found {teacher} for {student}")
    new = student.copy()
    for mine, its in zip(new.W[1:] + new.b[1:], teacher.W[1:] + teacher.b[1:]):
        if mine is not None:
            block = mine[(..., *(slice(n) for n in its.shape))]
            block.copy_(its.to(block) + noise * _normal(block.shape, rng).to(block))
    return new.copy()                                               # and look at what the noise made


def normal_inputs(features, std=1.0, dtype=torch.float64):
    """A sampler of normal inputs of this standard deviation: sampler(n, seed=...) -> (n, features)."""
    features, std, dtype = check.count("features", features), check.number("std", std, positive=True), _float(dtype)

    def sampler(n, *, seed):
        rng = check.generator(seed)
        check.size("a sample", check.count("n", n), features)
        return std * torch.randn(n, features, generator=rng, dtype=dtype, device=rng.device)
    return sampler


def _widths(widths):
    if not isinstance(widths, (list, tuple)):
        raise TypeError(f"widths must be a list by layer; found {type(widths).__name__}")
    if len(widths) < 2:
        raise ValueError(f"widths must have at least 2 entries, inputs and outputs; found {len(widths)}")
    return [check.count(f"widths[{l}]", n) for l, n in enumerate(widths)]


def _float(dtype):
    if not isinstance(dtype, torch.dtype) or dtype not in check.FLOATS:
        raise TypeError(f"dtype must be torch.float32 or torch.float64; found {dtype!r}")
    return dtype


def _normal(shape, rng):
    return torch.randn(tuple(shape), generator=rng, dtype=torch.float64, device=rng.device).cpu()


def _uniform(shape, rng):
    return torch.rand(tuple(shape), generator=rng, dtype=torch.float64, device=rng.device).cpu()
