"""The page's random numbers in Python, so that a state seen there can be had here to the last digits."""
import numpy as np
import torch

from .. import _checks as check
from ..student import Student
from ..teacher import Teacher


def _mix(a):
    a = a.astype(np.uint64)
    low = np.uint64(0xFFFFFFFF)
    t = (a ^ (a >> np.uint64(15))) * (a | np.uint64(1)) & low
    t ^= t + ((t ^ (t >> np.uint64(7))) * (t | np.uint64(61)) & low) & low
    return (t ^ (t >> np.uint64(14))) & low


class Generator:
    """`generator(seed, stream)` of engine.js: a counter whose bits are mixed."""

    def __init__(self, seed, stream=0):
        check.count("seed", seed, 0)
        one = lambda x: _mix(np.array([x % 2**32]))[0]                       # noqa: E731
        self._start, self._drawn = int(one(int(one(seed + 0x9E3779B9)) + stream)), 0

    def uniform(self, n):
        """n numbers in (0, 1)."""
        steps = np.arange(self._drawn + 1, self._drawn + n + 1, dtype=np.uint64)
        self._drawn += n
        a = (np.uint64(self._start) + steps * np.uint64(0x6D2B79F5)) & np.uint64(0xFFFFFFFF)
        return (_mix(a).astype(float) + 0.5) / 2**32

    def normal(self, n):
        """n normal numbers (Box and Muller); an odd n leaves the last one of its pair unused."""
        u = self.uniform(n + n % 2)
        r, t = np.sqrt(-2 * np.log(u[::2])), 2 * np.pi * u[1::2]
        return np.stack([r * np.cos(t), r * np.sin(t)], 1).ravel()[:n]


def start(student, seed):
    """Give a student the weights that the page starts with; member i of an ensemble draws from stream i. Returns it."""
    check.instance("student", student, Student)
    members = int(np.prod(student.ensemble, dtype=int))
    sizes = [None] + [w.numel() // members for w in student.W[1:]]
    with torch.no_grad():
        for i in range(members):
            x = torch.as_tensor(Generator(seed, i).normal(sum(sizes[1:])))
            for l in range(1, len(sizes)):
                w = student.W[l]
                fan = w.shape[-3] * w.shape[-2]
                gain = 2 if student.activation == "relu" and l < len(sizes) - 1 else 1
                values, x = x[:sizes[l]], x[sizes[l]:]
                w.reshape(members, -1)[i] = (values * (gain / fan) ** 0.5).to(w)
    return student


class Sampler:
    """Batches of a latent tree, one after the other as the page draws them: `train(..., sampler, batch=32, seed=0)`."""

    def __init__(self, teacher, seed, stream=100):
        self.teacher, self.random = check.instance("teacher", teacher, Teacher), Generator(seed, stream)

    def __call__(self, n, seed=None):
        """Inputs (n, R_0, n_0) and labels (n,); the seed that `train` hands over is not used."""
        t, z = self.teacher, self.states(n)
        label = self._draw(t.target[z[-1][:, 0]])
        return t.features[torch.arange(t.hierarchy.leaves), z[0]], label

    def states(self, n):
        """n draws of all summaries: codes by level (n, R_l)."""
        t, h = self.teacher, self.teacher.hierarchy
        z = [torch.zeros(n, r, dtype=torch.long) for r in h.regions]
        z[-1][:, 0] = self._draw(t.prior[-1][0].expand(n, -1))
        for l in range(h.depth, 0, -1):
            table = t.dense(l)
            for a, row in enumerate(h.children[l].tolist()):
                for c, b in enumerate(row):
                    z[l - 1][:, b] = self._draw(table[a, c][z[l][:, a]])
        return z

    def _draw(self, p):
        """One draw from each row, by inverting the cumulative sum as engine.js does."""
        u, total = torch.as_tensor(self.random.uniform(len(p))), p.sum(-1)
        return (u[:, None] * total[:, None] >= p.cumsum(-1)[:, :-1]).sum(-1)
