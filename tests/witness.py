"""Independent witnesses: the same quantities by plain loops, enumeration and autograd, with nothing of the package."""
import torch


def weights_of(student):
    """Copies of W and b by level, ready for autograd."""
    def leaf(x):
        return None if x is None else x.detach().clone().requires_grad_()
    return [leaf(w) for w in student.W], [leaf(b) for b in student.b]


def network(hierarchy, W, b, inputs, activation="relu"):
    """Activations and pre-activations of one student, region by region: lists by level of (N, R_l, n_l)."""
    f, h = [inputs], [None]
    for l in range(1, hierarchy.depth + 1):
        columns = []
        for r, row in enumerate(hierarchy.children[l].tolist()):
            column = 0 if b[l] is None else b[l][r]
            for c, child in enumerate(row):
                column = column + f[-1][:, child] @ W[l][r, c]
            columns.append(column)
        h.append(torch.stack(columns, 1))
        f.append(torch.relu(h[-1]) if activation == "relu" and l < hierarchy.depth else h[-1])
    return f, h


def sample_loss(f_top, labels, weights):
    """½ E‖f_ω - e_y‖², f_top (N, 1, classes)."""
    e_y = torch.eye(f_top.shape[-1], dtype=f_top.dtype)[labels]
    return ((f_top[:, 0] - e_y).square().sum(-1) * weights).sum() / 2


def descent(loss, W, b):
    """Minus the gradients, by autograd; zero where a parameter plays no part."""
    given = [x for x in (*W, *b) if x is not None]
    grads = iter(torch.autograd.grad(loss, given, allow_unused=True))
    out = [None if x is None else (lambda g, x=x: torch.zeros_like(x) if g is None else -g)(next(grads))
           for x in (*W, *b)]
    return out[:len(W)], out[len(W):]


def mean_given(codes, weights, values, states):
    """E[values | z] of one region by a loop: codes (N,), values (N, n) -> (states, n), 0 where nothing has weight."""
    out = torch.zeros(states, values.shape[-1], dtype=values.dtype)
    for z in range(states):
        rows = [n for n in range(len(codes)) if codes[n] == z and weights[n] > 0]
        if rows:
            p = weights[rows]
            out[z] = (p[:, None] * values[rows]).sum(0) / p.sum()
    return out


def dense_tables(teacher, l):
    """P[l] as (R, C, m, m_below) by a loop, whether it is stored as a table or as an index; 0 in rows of prior 0."""
    P, (R, C) = teacher.P[l], teacher.hierarchy.children[l].shape
    if P.is_floating_point():
        out = P.clone()
    else:
        out = torch.zeros(R, C, teacher.states[l], teacher.states[l - 1], dtype=teacher.prior[0].dtype)
        for r in range(R):
            for c in range(C):
                for i in range(teacher.states[l]):
                    out[r, c, i, P[r, c, i]] = 1
    for r in range(R):
        for i in range(teacher.states[l]):
            if teacher.prior[l][r, i] == 0:
                out[r, :, i] = 0
    return out


def recursion(W, b, teacher, activation="relu", gates=None):
    """F, H by level of one student, region by region, straight from the equation; gates[l] (R_l, m_l, n_l) or None."""
    h, F, H = teacher.hierarchy, [teacher.features], [None]
    for l in range(1, h.depth + 1):
        P, columns = dense_tables(teacher, l), []
        for r, row in enumerate(h.children[l].tolist()):
            total = sum(P[r, c] @ F[-1][child] @ W[l][r, c] for c, child in enumerate(row))
            total = total if b[l] is None else total + b[l][r]
            columns.append(total * (teacher.prior[l][r] > 0)[:, None])
        H.append(torch.stack(columns))
        top = l == h.depth or activation == "linear"
        F.append(H[-1] if top else torch.relu(H[-1]) if gates is None else gates[l] * H[-1])
    return F, H
