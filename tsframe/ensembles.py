"""Floor 5. Many dense students of one teacher, trained together: one batched matrix product a layer and direction."""
import torch
from tqdm.auto import tqdm

from . import _checks as check
from .dense import Dense
from .training import History

BLOCK = 32                              # batches drawn, and answered by the teacher, at a time


def train_dense(student, teacher, data, *, steps, lr, batch=64, seed, unit=None, frozen=(), keep=None, every=1,
                device=None, progress=False):
    """Stochastic gradient descent on ½ mean ‖y° - y‖², in place; all students see the same batches.

        W_l ← W_l + lr mean s_l f_{l-1}^T,   b_l ← b_l + lr mean g_l

    with the signals s and g of `Dense.propagate`. torch's MSELoss takes the mean over the outputs as well: its rate r is lr = 2 r / n_L here.

    student : `Dense`, any ensemble
    teacher : `Dense`, one or one a student, or a function of inputs (batch, n_0) that returns the targets (batch, n_L)
    data : inputs (M, n_0), from which each step draws `batch` rows with replacement, or a sampler, called at each step
        as data(batch, seed=generator) -> (batch, n_0), such as `normal_inputs`
    lr : the rate, or a dict {step: rate from that step on} that names step 0
    seed : int or torch.Generator; batches depend on nothing else
    unit : "hidden" or "all": rows [W, b] of these layers are scaled to length 1 after every step
    frozen : layers whose W and b stay
    keep : called as keep(step, student) at every recorded step, before the step's update; `every` sets which: 0, every,
        2 every, ..., and the last
    device : where to compute, by default where the student is; the student itself stays there
    Returns a `History`, its loss (records, *ensemble) taken on the batch at hand. Raises `ValueError` when a recorded
    loss is not finite. Threads are those of torch.set_num_threads. Chapter `winners`.
    """
    check.instance("student", student, Dense)
    check.count("steps", steps, 0)
    check.count("every", every)
    check.size("a batch, for all students,", *student.ensemble, check.count("batch", batch), max(student.widths))
    check.flag("progress", progress)
    check.choice("unit", unit, (None, "hidden", "all"))
    if keep is not None and not callable(keep):
        raise TypeError(f"keep must be callable as keep(step, student); found {type(keep).__name__}")
    if not isinstance(frozen, (list, tuple)):
        raise TypeError(f"frozen must be a tuple of layers; found {type(frozen).__name__} {frozen!r}")
    frozen = {check.count("frozen", l, 1, student.depth) for l in frozen}
    if len(frozen) == student.depth:
        raise ValueError(f"frozen must leave a layer to train; found all {student.depth}")
    if unit == "all" or (unit == "hidden" and student.depth > 1):
        scaled = range(1, student.depth + (unit == "all"))
    else:
        scaled = ()
    device, rates = _device(device, student), _rates(lr)
    net = _Trainer(student, batch, frozen, [l for l in scaled if l not in frozen], device)
    batches = _batches(student, teacher, data, batch, check.generator(seed), steps + 1, net.device)
    history, losses = History([], None, []), []
    for step in tqdm(range(steps + 1), disable=not progress, leave=False):
        rate = rates.get(step, rate) if step else rates[0]
        x, target = next(batches)
        recorded = step % every == 0 or step == steps
        signal = net.forward(x, target)
        if recorded:
            loss = (signal.square().sum((-2, -1)) / 2 / batch).view(student.ensemble).cpu()
            check.finite_loss(loss, step, rate)
            history.steps.append(step)
            losses.append(loss)
            net.write_back()
            history.kept.append(None if keep is None else keep(step, student))
        if step < steps:
            net.backward(signal, rate / batch)
    history.loss = torch.stack(losses)
    return history


class _Trainer:
    """One step of all students: weights (S, n, k) and biases (S, 1, n), views of the student's own on its device."""

    @torch.no_grad()
    def __init__(self, student, batch, frozen, scaled, device):
        self.student, self.frozen, self.scaled, self.depth = student, frozen, scaled, student.depth
        self.leak, norm = student.leak, student.norm
        self.before = norm if norm is not None and norm.place == "before" else None
        self.after = norm if norm is not None and norm.place == "after" else None
        self.device = device
        self.W = [None] + [w.detach().to(self.device).flatten(0, -3) if w.ndim > 2 else w.detach().to(self.device)[None]
                           for w in student.W[1:]]
        self.b = [None] + [w.new_zeros(len(w), 1, w.shape[-2]) if b is None else
                           b.detach().to(self.device).view(len(w), 1, -1) for w, b in zip(self.W[1:], student.b[1:])]
        self.p = self.W[1].new_full((batch,), 1 / batch)

    @torch.no_grad()
    def forward(self, x, target):
        """The signal at the top, target - y (S, batch, n_L); f, and what the norm takes in, z, are kept."""
        self.f, self.z = [x.expand(len(self.W[1]), -1, -1)], [None]
        for l in range(1, self.depth):
            if self.before is None:
                f = torch.baddbmm(self.b[l], self.f[-1], self.W[l].mT)
                self.z.append(f)
            else:
                self.z.append(torch.bmm(self.f[-1], self.W[l].mT))
                f = self.before._value(self.z[l], self.p) + self.b[l]
            f = torch.nn.functional.leaky_relu_(f, self.leak)
            self.f.append(f if self.after is None else self.after._value(f, self.p))
        y = torch.baddbmm(self.b[-1], self.f[-1], self.W[-1].mT)
        return torch.sub(target, y, out=y)

    @torch.no_grad()
    def backward(self, g, rate):
        """The step: layer by layer from the top, each product with W_l before its update."""
        bias = self.student.b[1] is not None
        for l in range(self.depth, 0, -1):
            s = g if self.before is None or l == self.depth else self.before._back(self.z[l], g, self.p)
            u = torch.bmm(s, self.W[l]) if l > 1 else None
            if l not in self.frozen:
                self.W[l].baddbmm_(s.mT, self.f[l - 1], alpha=rate)
                if bias:
                    self.b[l].add_(g.sum(-2, keepdim=True), alpha=rate)
            if l > 1:
                f = self.z[l - 1] if self.after is not None else self.f[l - 1]      # either is above 0 where h is
                u = u if self.after is None else self.after._back(f, u, self.p)
                g = torch.ops.aten.leaky_relu_backward(u, f, self.leak, True)
        for l in self.scaled:
            length = (self.W[l].square().sum(-1) + self.b[l][:, 0].square()).sqrt_()
            length = torch.where(length > 0, length, 1)
            self.W[l].div_(length[..., None])
            self.b[l].div_(length[:, None])

    def write_back(self):
        """Copy weights into the student where they are kept elsewhere."""
        if self.device != self.student.device:
            for mine, its in zip(self.W[1:] + self.b[1:], self.student.W[1:] + self.student.b[1:]):
                if its is not None:
                    its.detach().copy_(mine.view(its.shape))


def _device(device, student):
    """The device of this name, where there is one."""
    try:
        device = student.device if device is None else torch.device(device)
        torch.empty(0, device=device)
    except (TypeError, ValueError, RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device must be one that torch has here, such as 'cpu'; found {device!r} ({error})") from None
    return device


def _rates(lr):
    """{step: rate} with an entry for step 0."""
    if not isinstance(lr, dict):
        return {0: check.number("lr", lr, positive=True)}
    if 0 not in lr:
        raise ValueError(f"lr must name a rate for step 0; found steps {sorted(lr, key=str)}")
    return {check.count("a step of lr", t, 0): check.number(f"lr[{t}]", rate, positive=True) for t, rate in lr.items()}


def _batches(student, teacher, data, batch, rng, steps, device):
    """Inputs and targets of one step after the other; drawn step by step, answered by the teacher in blocks."""
    if isinstance(teacher, Dense):
        if teacher.widths[0] != student.widths[0] or teacher.widths[-1] != student.widths[-1] or (
                teacher.dtype != student.dtype or teacher.ensemble not in ((), student.ensemble)):
            raise ValueError("teacher must have the student's inputs, outputs, dtype and ensemble (or none); found "
                             f"{teacher}, {teacher.dtype} for {student}, {student.dtype}")
        home = teacher.to(device)

        def answer(x):
            return home(x)[-1].flatten(0, -3) if home.ensemble else home(x)[-1]
    elif callable(teacher):
        def answer(x):
            return check.real("targets", teacher(x), (batch, student.widths[-1]), student.dtype, device)
    else:
        raise TypeError(f"teacher must be a Dense or a function of inputs; found {type(teacher).__name__}")
    shape = (batch, student.widths[0])
    if callable(data):
        def draw(steps):
            drawn = (data(batch, seed=rng) for _ in range(steps))
            return torch.stack([check.real("inputs", x, shape, student.dtype) for x in drawn])
    else:
        pool = check.shaped("data", student.check_inputs(data, "data"), (None, student.widths[0]))

        def draw(steps):
            return pool[torch.randint(len(pool), (steps, batch), generator=rng, device=rng.device).to(pool.device)]
    size = BLOCK if isinstance(teacher, Dense) and not teacher.ensemble else 1
    for start in range(0, steps, size):
        with torch.no_grad():
            x = draw(min(size, steps - start)).to(device)
            targets = answer(x) if size > 1 else answer(x[0])[None]
        yield from zip(x, targets)
