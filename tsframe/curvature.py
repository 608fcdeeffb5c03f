"""Floor 5. How sharply the loss bends where a student stands."""
import torch

from . import _checks as check
from .expansion import expand, reduced_loss
from .ladder import Ladder
from .student import Student, uniform
from .teacher import Teacher


def sharpness(student, data, *, tol=1e-6, seed=0):
    """The largest eigenvalue of the Hessian of the loss in all weights and biases, (*ensemble,).

        λ = max vᵀ ∇²L v over ‖v‖ = 1;   plain gradient descent settles at a minimum only if λ <= 2 / lr

    data : a Ladder, or a pair (inputs, labels) as `Student.propagate` takes it: L = the mean of ½ ‖f_ω - e_y‖²
        a Teacher: L = `reduced_loss`
    tol : the residual ‖∇²L v - λ v‖ at which to stop, relative to the size of ∇²L (the Frobenius norm of what has been
        seen of it); there is an eigenvalue at least as near to λ
    seed : int or torch.Generator; draws the vector to start from

    By Lanczos' method: the best v in a growing space, spanned by products of the Hessian with a vector, which autograd
    gives without the Hessian. Gates count as constants, as they are almost everywhere. Source: chapter `noise`.
    """
    check.instance("student", student, Student)
    tol, rng = check.number("tol", tol, positive=True), check.generator(seed)
    parameters, lead = list(student.parameters()), len(student.ensemble)
    sizes = [p.shape[lead:].numel() for p in parameters]
    with torch.enable_grad():
        loss = _loss(student, data)
        slope = torch.autograd.grad(loss.sum(), parameters, create_graph=True)      # students do not mix

    def bend(v):
        """∇²L v, each student's own."""
        parts = [x.view(p.shape) for x, p in zip(v.split(sizes, -1), parameters)]
        found = torch.autograd.grad(slope, parameters, parts, retain_graph=True, materialize_grads=True)
        found = torch.cat([x.flatten(lead) for x in found], -1)
        if not torch.isfinite(found).all():
            raise ValueError("sharpness must be taken where loss and Hessian are finite; "
                             f"found a loss of {loss.max().item():g}")
        return found

    def draw():
        return torch.randn(*student.ensemble, sum(sizes), generator=rng, dtype=torch.float64, device=rng.device).to(loss)

    least = max(tol, 100 * torch.finfo(loss.dtype).eps)
    v, Q = draw(), loss.new_zeros(*student.ensemble, sum(sizes), 0)                 # Q: orthonormal columns, A = ∇²L Q
    A = Q
    while Q.shape[-1] < sum(sizes):
        v = _beside(Q, v, draw)
        Q, A = torch.cat([Q, v[..., None]], -1), torch.cat([A, bend(v)[..., None]], -1)
        λ, s = torch.linalg.eigh(Q.mT @ A)
        λ, best = λ[..., -1], s[..., -1:]
        miss = (A @ best - λ[..., None, None] * (Q @ best)).norm(dim=(-2, -1))
        if (miss <= least * A.norm(dim=(-2, -1))).all():
            break
        v = A[..., -1]
    return λ


def _beside(Q, v, draw):
    """v made orthogonal to the columns of Q, length 1; something drawn instead where nothing of v is left."""
    size = v.norm(dim=-1, keepdim=True)
    for _ in range(2):                                                              # twice is enough
        v = v - (Q @ (Q.mT @ v[..., None]))[..., 0]
    left = v.norm(dim=-1, keepdim=True)
    gone = left <= 1e-10 * size
    return torch.where(gone, _beside(Q, draw(), draw), v / left.masked_fill(gone, 1)) if gone.any() else v / left


def _loss(student, data):
    """One number a student, with a graph."""
    if isinstance(data, Teacher):
        return reduced_loss(expand(student, data), data)
    if isinstance(data, Ladder):
        student.check_fit("ladder", data.hierarchy, data.inputs, data.classes)
        inputs, labels, weights = data.inputs, data.labels, data.weights
    elif isinstance(data, (tuple, list)) and len(data) == 2:
        inputs, labels = student.check_inputs(data[0]), data[1]
        weights = uniform(inputs)
    else:
        raise TypeError(f"data must be a Teacher, a Ladder or a pair (inputs, labels); found {type(data).__name__}")
    return student.propagate(inputs, labels, weights).loss(weights)
