"""Floor 6. Chapter `specialization`: boundaries, alignment and small gradients."""
import torch

from ..correspondence import colinear_groups
from ..dense import Dense
from ..draws import dense_student, dense_teacher
from ..relu_teacher import alignment, gradient_expansion, small_gradient
from .examples import normal
from .registry import certificate
from .witness import gap


@certificate(
    "boundary-jump",
    claim="where x crosses a hyperplane and no other, ∇u_k of the lowest layer jumps by (1 − a) "
          "times Σ A_kj‖w°_j‖ − Σ B_kk'‖w_k'‖, over the nodes of that hyperplane, whatever their "
          "sides, along its normal",
    witness="autograd of the loss of both networks written out, twice, on either side",
    dropped="the point lies on a second hyperplane")
def boundary_jump(rng):
    gaps, wrong = [], []
    for widths, leak in (([3, 6, 2], 0.0), ([3, 6, 2], 0.2), ([3, 6, 5, 2], 0.0)):
        teacher = dense_teacher([3, 4, *widths[2:]], entries=None, leak=leak, seed=rng)
        student = dense_student(widths, init="unit", leak=leak, seed=rng)
        rows, rows0 = student.rows(1), teacher.rows(1)
        rows[0], rows[1], rows[3] = 1.3 * rows0[0], -0.7 * rows0[0], -0.5 * rows[2]
        student = _net(rows, student.W[2:], student.b[2:], leak)
        for plane, its, mine in ((rows0[0], [0], [0, 1]), (rows0[1], [1], []), (rows[2], [], [2, 3]),
                                 (rows[4], [], [4])):
            others = [rows[k] for k in range(6) if k not in mine] + [
                rows0[j] for j in range(4) if j not in its]
            x, away = _on(plane[None], 200, rng), torch.stack(others)
            far = (x @ away[:, :3].T + away[:, 3]).abs().amin(1)
            for net in (student, teacher):                          # and off the boundaries above
                for h in net.propagate(x).h[2:-1]:
                    far = torch.minimum(far, h.abs().amin(1))
            points = [(x[far.argmax()], gaps)]
            if len(mine) < 2 and len(widths) == 3:
                points.append((_on(torch.stack([plane, rows[5]]), 1, rng)[0], wrong))
            for x0, store in points:
                n = plane[:3] / plane[:3].norm()
                up, down = (_signal(student, teacher, (x0 + s * n)[None], True)[1][0] for s in (1e-6, -1e-6))
                e = gradient_expansion(student, teacher, x0[None])
                A, B = (table[1][0, :6, :-1] for table in (e.A, e.B))
                bend = (A[:, its] * rows0[its, :3].norm(dim=1)).sum(1) - (
                    B[:, mine] * rows[mine, :3].norm(dim=1)).sum(1)
                store.append(gap(up - down, (1 - leak) * bend[:, None] * n))
    return max(gaps), min(wrong)


@certificate(
    "alignment",
    claim="if the signal of k vanishes on an open set that a teacher node's hyperplane crosses where "
          "k is on, the students with that hyperplane satisfy Σ B_kk'|λ_k'| = A_kj",
    witness="readouts solved for, with a random part from the null space, so that no student hears "
            "the remaining error; signals by autograd at fresh points",
    dropped="signals vanish at finitely many points only")
def aligned(rng):
    teacher = dense_teacher([2, 3, 3], entries=None, seed=rng)
    rows0, Q = teacher.rows(1), torch.linalg.qr(normal((3, 2), rng))[0]
    λ = 0.5 + torch.rand(6, generator=rng, dtype=torch.float64)
    λ[3:] *= -1
    rows = torch.cat([λ[:, None] * rows0.repeat(2, 1), normal((2, 3), rng)])
    student, fresh = _solved(rows, teacher, Q, rng), 3 * normal((50, 2), rng)
    a, planted = alignment(student, teacher), torch.zeros(8, 3, dtype=torch.float64)
    planted[range(6), [0, 1, 2] * 2] = λ
    observes = planted == 0                                         # the others are 0 on this hyperplane
    error = teacher(fresh)[-1] - student(fresh)[-1]                 # not small: only unheard
    gaps = [gap(a.λ, planted), gap(a.reached[observes], a.A[observes]),
            gap(_signal(student, teacher, fresh)[0], 0 * fresh[:, :1]),
            gap(student.propagate(fresh, teacher(fresh)[-1]).g[1], 0 * fresh[:, :1]),
            max(0.0, 1e-3 - error.abs().max().item())]
    few = 3 * normal((8, 2), rng)
    student = _solved(normal((24, 3), rng), teacher, Q, rng, few)
    a = alignment(student, teacher)
    gaps.append(gap(_signal(student, teacher, few)[0], 0 * few[:, :1]))
    return max(gaps), gap(a.reached, a.A)


@certificate(
    "unaligned-groups",
    claim="where signals vanish, the fan-outs of students on one hyperplane, times ‖w‖, add up to "
          "those of the teacher there, to 0 without a teacher, if the difference lies in the span of "
          "the observers' fan-outs; what remains of such a group is linear",
    witness="readouts solved for, with a random part from the null space; a group's part of the "
            "output fitted by a linear function",
    dropped="a node whose fan-out is orthogonal to those of its observers")
@torch.no_grad()
def unaligned_groups(rng):
    teacher = dense_teacher([2, 3, 2], entries=None, seed=rng)
    rows0 = teacher.rows(1)
    λ = 0.5 + torch.rand(6, generator=rng, dtype=torch.float64)
    own, sides = torch.stack([_row(rng) for _ in range(4)]), torch.tensor([1.0, 2, -1, 1, -2, 0.5, -1])
    own = torch.cat([own[[0, 0, 0, 1, 1, 2, 2]] * sides[:, None], own[3:]])     # groups of 3, 2, 2, 1
    student = _solved(torch.cat([λ[:, None] * rows0.repeat(2, 1), own]), teacher, torch.eye(2).double(), rng)
    rows, V, fresh = student.rows(1), student.W[2], 3 * normal((60, 2), rng)
    f, linear = student(fresh)[1], torch.cat([fresh, torch.ones(60, 1)], 1)
    gaps = [gap(V[:, 13], torch.zeros(2)), gap(V[:, :3] * λ[:3] + V[:, 3:6] * λ[3:], teacher.W[2]),
            gap(_signal(student, teacher, fresh)[0], 0 * fresh[:, :1])]
    groups = {tuple(g.nodes): g for g in colinear_groups(student, tol=1e-9)}
    for nodes, with_teacher in [((j, j + 3), True) for j in range(3)] + [
            ((6, 7, 8), False), ((9, 10), False), ((11, 12), False)]:
        if nodes not in groups:
            return float("inf"), 1.0
        part = f[:, nodes] @ V[:, nodes].T
        if with_teacher:
            part = teacher(fresh)[1][:, nodes[:1]] @ teacher.W[2][:, nodes[:1]].T - part
        else:
            gaps.append(groups[nodes].rest)
            signs = rows[list(nodes)] @ rows[nodes[0]]
            gaps.append(gap(torch.tensor(groups[nodes].signs), signs.sign()))
        gaps.append(gap(linear @ torch.linalg.lstsq(linear, part).solution, part))
    wide = dense_teacher([2, 3, 3], entries=None, seed=rng)
    Q = torch.linalg.qr(normal((3, 3), rng))[0]
    known = _solved(torch.cat([wide.rows(1), normal((2, 3), rng)]), wide, Q[:, :2], rng)
    student = _net(torch.cat([known.rows(1), own[-1:]]), [torch.cat([known.W[2], Q[:, 2:]], 1)], known.b[2:])
    gaps.append(gap(_signal(student, wide, fresh)[0][:, :5], torch.zeros(60, 5)))
    return max(gaps), (student.fan_out(1)[5] * student.W[1][5].norm()).item()


@certificate(
    "small-gradient",
    claim="if |g_k| ≤ ε on a segment of reach t across one hyperplane, within the region where k is "
          "on, then |Σ A_kj‖w°_j‖ − Σ B_kk'‖w_k'‖| t ≤ 4ε, and 4 is the best constant",
    witness="second differences of signals by autograd, at ends and middle; equality in a network "
            "built for it",
    dropped="another boundary crosses the segment")
def small(rng):
    gaps = []
    teacher, student = dense_teacher([3, 4, 2], entries=None, seed=rng), dense_student([3, 6, 2], init="unit", seed=rng)
    rows, rows0 = student.rows(1), teacher.rows(1)
    A = student.W[2].T @ teacher.W[2]
    for j in range(4):
        x, ray = normal((40, 3), rng), rows0[j, :3] / rows0[j, :3].norm()
        left, ε = small_gradient(student, teacher, x, j)
        x0 = x - ((x @ ray) + rows0[j, 3] / rows0[j, :3].norm())[:, None] * ray
        t = left / (A[:, j].abs() * rows0[j, :3].norm())            # (40, 6), one reach a point
        φ = torch.stack([_signal(student, teacher, x0 + s * t.amax(1)[:, None] * ray)[0] for s in (-1, 0, 1)])
        on = left > 0
        gaps += [gap((φ[0] - 2 * φ[1] + φ[2]).abs()[on], left[on]), gap(φ.abs().amax(0)[on], ε[on]),
                 (left - 4 * ε).max().clamp(min=0).item(), 0.0 if on.any() else 1.0]
    group = torch.cat([1.5 * rows0[:1], -0.5 * rows0[:1], rows[2:]])
    student, ray = _net(group, student.W[2:], student.b[2:]), rows0[0, :3] / rows0[0, :3].norm()
    other = torch.cat([group[2:], rows0[1:]])
    x0 = _on(rows0[:1], 40, rng)
    t = ((x0 @ other[:, :3].T + other[:, 3]) / (other[:, :3] @ ray)).abs().amin(1)[:, None] * (1 - 1e-9)
    φ = torch.stack([_signal(student, teacher, x0 + s * t * ray)[0] for s in (-1, 0, 1)])
    a = alignment(student, teacher)
    bend = (a.A - a.reached)[:, 0] * rows0[0, :3].norm()
    on = x0 @ group[:, :3].T + group[:, 3] > 1e-9
    gaps += [gap((φ[0] - 2 * φ[1] + φ[2])[on], (bend * t)[on]),
             ((bend * t).abs() - 4 * φ.abs().amax(0))[on].max().clamp(min=0).item()]
    one, v, t = torch.ones(1, 1).double(), 0.5 + torch.rand(1, 1, generator=rng).double(), 2.0
    teacher = _net(torch.tensor([[1.0, 0]]).double(), [one], [torch.zeros(1).double()])
    student = _net(torch.cat([0.5 / v, 2 / v], 1), [v], [torch.tensor([t / 4 - 2]).double()])  # φ = v(|x| - t/2)/2
    φ = _signal(student, teacher, torch.tensor([[-t], [0], [t]]).double())[0]
    gaps.append(gap(v * t, 4 * φ.abs().max()))
    copy = _net(torch.cat([torch.tensor([[1, -0.05]]).double(), torch.tensor([[0, 1.0]]).double()]),
                [torch.cat([one, v], 1)], [-v[0]])                  # a copy, 0.05 off; k is always on
    φ = _signal(copy, teacher, torch.linspace(-1, 1, 81, dtype=torch.float64)[:, None])[0][:, 1]
    return max(gaps), (v - 4 * φ.abs().max()).item()


def _net(rows, W, b, leak=0.0):
    """A network with these rows [w, b] at the lowest layer and lists of weights and biases above it."""
    return Dense([None, rows[:, :-1], *W], [None, rows[:, -1], *b], leak=leak)


def _row(rng):
    """A row [w, b] in the plane, its line within 1 of the origin."""
    w = normal(2, rng)
    return torch.cat([w, w.norm() * (2 * torch.rand(1, generator=rng).double() - 1)])


def _on(rows, count, rng):
    """Points (count, d) on all of these hyperplanes."""
    w, x = rows[:, :-1], normal((count, rows.shape[1] - 1), rng)
    return x - (x @ w.T + rows[:, -1]) @ torch.linalg.pinv(w).T


def _signal(student, teacher, x, slopes=False):
    """u_k = -∂(½‖y° - y‖²)/∂f_k of the lowest layer at x (N, d), by autograd of the networks written out, and with
    `slopes` ∇u_k (N, n, d)."""
    with torch.enable_grad():
        x, out, first = x.detach().clone().requires_grad_(), [], None
        for net in (teacher, student):
            y = x
            for l in range(1, net.depth + 1):
                y = y @ net.W[l].T + net.b[l]
                if l < net.depth:
                    y = torch.maximum(y, net.leak * y)
                first = y if l == 1 else first
            out.append(y)
        u = -torch.autograd.grad((out[0] - out[1]).square().sum() / 2, first, create_graph=slopes)[0]
        if not slopes:
            return u, None
        return u.detach(), torch.stack([torch.autograd.grad(v.sum(), x, retain_graph=True)[0] for v in u.T], 1)


def _solved(rows, teacher, Q, rng, x=None):
    """A student with these rows whose readout, in the span of the columns of Q, leaves no error in that span on x: one
    solution and a random part of the null space."""
    x = 3 * normal((400, 2), rng) if x is None else x
    f = torch.cat([(x @ rows[:, :2].T + rows[:, 2]).relu(), torch.ones(len(x), 1)], 1)
    U, s, Vh = torch.linalg.svd(f)
    rank = int((s > 1e-10 * s[0]).sum())
    target = teacher(x)[-1] @ Q
    best = Vh[:rank].T @ (U[:, :rank].T @ target / s[:rank, None])
    best = best + Vh[:rank].T @ (U[:, :rank].T @ (target - f @ best) / s[:rank, None])  # once more, for the rounding
    free = Vh[rank:].T @ normal((len(Vh) - rank, Q.shape[1]), rng) / 2
    V = Q @ (best + free).T
    return _net(rows, [V[:, :-1]], [V[:, -1]])
