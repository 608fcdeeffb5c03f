"""Floor 5. Training in table space (the full recursion, no sampling) and in sample space (batches)."""
from dataclasses import dataclass

import torch
from torch.optim.adam import adam
from torch.optim.sgd import sgd
from tqdm.auto import tqdm

from . import _checks as check
from .expansion import backward, bias_update, expand, reduced_loss, weight_update
from .ladder import Ladder
from .student import Student, uniform
from .teacher import Teacher


@dataclass
class History:
    """What training left behind: recorded `steps`, `loss` (records, *ensemble), and what `keep` returned, in `kept`."""

    steps: list
    loss: torch.Tensor
    kept: list


def train(student, data, *, steps, lr, method="sgd", momentum=0.9, batch=None, seed=None, keep=None, every=1,
          progress=False):
    """Gradient descent on a student, in place; all members of an ensemble see the same rows, unless a sampler says else.

        W ← W + lr ΔW        (sgd; "momentum" and "adam" as in torch.optim, elementwise, so members stay apart)

    data : a Teacher: table space, ΔW from `weight_update` of the reduced model, loss ½ Σ_z P(z) ‖F_ω - target‖²
        a Ladder: sample space, ΔW = E[f_k g_j] over all rows, or over `batch` rows drawn from it at each step
        a sampler, called as data(batch, seed=generator) -> inputs, labels, such as `teacher.sample`; where inputs are
            (*ensemble, N, R_0, n_0) and labels (*ensemble, N), every student takes a step on a batch of its own
        and there the loss is the mean of ½ ‖f_ω - e_y‖²
    momentum : used by method "momentum" only
    seed : int or torch.Generator, needed where batches are drawn
    keep : called as keep(step, student) at every recorded step, before the step's update; `every` sets which: 0, every,
        2 every, ..., and the last
    Raises `ValueError` when a loss is no longer finite; the message names the step, and the students if there are many.
    Source: Tian (2018); chapter `dynamics`.
    """
    check.instance("student", student, Student)
    check.count("steps", steps, 0)
    check.count("every", every)
    check.flag("progress", progress)
    lr = check.number("lr", lr, positive=True)
    check.choice("method", method, ("sgd", "momentum", "adam"))
    if keep is not None and not callable(keep):
        raise TypeError(f"keep must be callable as keep(step, student); found {type(keep).__name__}")
    if isinstance(data, Ladder):
        student.check_fit("ladder", data.hierarchy, data.inputs, data.classes)
    momentum = check.number("momentum", momentum, 0, 1) if method == "momentum" else 0
    update, step_by = _updates(data, batch, seed), _optimizer(method, student, lr, momentum)
    history, losses = History([], None, []), []
    for step in tqdm(range(steps + 1), disable=not progress, leave=False):
        with torch.no_grad():
            loss, dW, db = update(student)
        check.finite_loss(loss, step, lr)
        if step % every == 0 or step == steps:
            history.steps.append(step)
            losses.append(loss)
            history.kept.append(None if keep is None else keep(step, student))
        if step < steps:
            step_by(dW, db)
    history.loss = torch.stack(losses)
    return history


def _optimizer(method, student, lr, momentum):
    """One step of gradient descent along ΔW and Δb, by torch's functional optimizers.

    Its optimizer classes do the same, but their first use loads torch's compiler, which takes a chapter's second or two.
    """
    def used(W, b):                                          # in the order of the levels, without absent biases
        return [x for pair in zip(W[1:], b[1:]) for x in pair if x is not None]

    parameters = used(student.W, student.b)
    moments = [[torch.zeros_like(p, requires_grad=False) for p in parameters] for _ in range(2)]
    steps, buffers = [torch.tensor(0.0) for _ in parameters], [None] * len(parameters)

    @torch.no_grad()
    def step(dW, db):
        directions = used(dW, db if student.b[1] is not None else student.b)
        if method == "adam":
            adam(parameters, directions, *moments, [], steps, amsgrad=False, beta1=0.9, beta2=0.999, lr=lr,
                 weight_decay=0, eps=1e-8, maximize=True)
        else:
            sgd(parameters, directions, buffers, weight_decay=0, momentum=momentum, lr=lr, dampening=0, nesterov=False,
                maximize=True)
    return step


def _updates(data, batch, seed):
    """The function student -> (loss, ΔW, Δb) that belongs to the data."""
    if isinstance(data, Teacher):
        if batch is not None:
            raise ValueError(f"batch must be None in table space, where nothing is sampled; found {batch}: "
                             "pass teacher.sample to train on samples")

        def table_update(student):
            e = backward(expand(student, data), student, data)
            db = bias_update(e, data) if student.b[1] is not None else student.b
            return reduced_loss(e, data), weight_update(e, data), db
        return table_update
    if not isinstance(data, Ladder) and not callable(data):
        raise TypeError(f"data must be a Teacher, a Ladder or a sampler; found {type(data).__name__}")
    if isinstance(data, Ladder) and batch is None:
        return lambda student: _sample_update(student, data.inputs, data.labels, data.weights)
    check.count("batch", batch)
    rng, draw = check.generator(seed), data.sample if isinstance(data, Ladder) else data

    def batch_update(student):
        drawn = draw(batch, seed=rng)
        if not isinstance(drawn, (tuple, list)) or len(drawn) != 2:
            raise TypeError(f"a sampler must return inputs and labels; found {type(drawn).__name__}")
        inputs, labels = student.check_inputs(drawn[0]), drawn[1]
        if not inputs.shape[-3]:
            raise ValueError("a sampler must return at least one row; found 0")
        return _sample_update(student, inputs, labels, uniform(inputs))
    return batch_update


def _sample_update(student, inputs, labels, weights):
    """Mean loss and expected descent direction of the real network on weighted rows."""
    rows = student.propagate(inputs, labels, weights)
    return rows.loss(weights), *rows.update(student.hierarchy, weights)
