"""Floor 0. A matrix product whose left factor all students share."""


def shared(a, x):
    """a (*batch, p, q) times x (..., *batch, q, n) -> (..., *batch, p, n).

    Broadcasting would copy `a` for every student; here the students of x stand side by side in one product instead.
    """
    if x.ndim <= a.ndim:
        return a @ x
    lead = x.ndim - a.ndim
    students = x.flatten(0, lead - 1)
    y = a @ students.movedim(0, -2).flatten(-2)                           # (*batch, p, students n)
    return y.unflatten(-1, students.shape[::a.ndim]).movedim(-2, 0).unflatten(0, x.shape[:lead])
