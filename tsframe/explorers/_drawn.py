"""The page's random numbers in Python, so that a state seen there can be had here to the last digits."""
import numpy as np
import torch

from .. import _checks as check
from ..dense import Dense, unit_rows
from ..draws import ENTRIES
from ..factors import block_masks, product_teacher
from ..hierarchy import Hierarchy
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
        teacher.sample_states(0, seed=0)             # raises where there is no latent tree

    def __call__(self, n, seed=None):
        """Inputs (n, R_0, n_0) and labels (n,); the seed that `train` hands over is not used."""
        t, z = self.teacher, self.states(n)
        label = self._draw(t.label_law[z[-1][:, 0]])
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


class Inputs:
    """Normal inputs of standard deviation `std`, batch after batch as the page draws them: `train_dense(..., Inputs(5, 0), ...)`."""

    def __init__(self, features, seed, stream=100, std=1.0):
        self.features, self.std = check.count("features", features), check.number("std", std, positive=True)
        self.random = Generator(seed, stream)

    def __call__(self, n, seed=None):
        """Inputs (n, features), n · features even; the seed that `train_dense` hands over is not used."""
        if check.count("n", n) * self.features % 2:
            raise ValueError(f"n times features must be even, as normal numbers come in pairs; found {n} times {self.features}")
        return self.std * torch.as_tensor(self.random.normal(n * self.features)).view(n, self.features)


def dense_pair(seed, nodes=12, times=5, decay=1.0):
    """Teacher and student of 20 inputs and 50 outputs that the explorer `Correspondence` draws from a seed.

    nodes : of the teacher, its biases -0.1; `dense_teacher` draws by the same law, here they stand from strong to weak
    times : student nodes for each, all weights normal(0, 0.005²);  decay : node j has a strength like j^-decay
    Returns teacher and student, two `Dense`. Chapter `specialization`.
    """
    nodes, times, decay = check.count("nodes", nodes), check.count("times", times), check.number("decay", decay, 0)
    (k, c), entries = (20, 50), torch.tensor(ENTRIES, dtype=torch.float64)
    drawn = entries[torch.as_tensor(Generator(seed, 400).uniform(nodes * (k + c)) * len(entries)).long()]
    w, v = unit_rows(drawn[:nodes * k].view(nodes, k)), drawn[nodes * k:].view(nodes, c)
    v = v / torch.arange(1, nodes + 1, dtype=v.dtype)[:, None] ** decay
    order, n = v.norm(dim=1).argsort(descending=True, stable=True), nodes * times
    x = .005 * torch.as_tensor(Generator(seed, 401).normal(n * (k + c)))
    teacher = Dense([None, w[order], v[order].T], [None, torch.full((nodes,), -.1).double(), torch.zeros(c).double()])
    student = Dense([None, x[:k * n].view(k, n).T, x[k * n:].view(n, c).T], [None, torch.zeros(n).double(), torch.zeros(c).double()])
    return teacher, student


STATES, NODES = ((4, 3, 4, 3, 2), (3, 4, 3, 4, 3)), ((4, 4, 3, 4, 1), (3, 3, 4, 3, 1))     # of each part, by level
DROPS = ("nothing", "A2: tables mixed", "A4: a node sees both", "A5: a target of both")


def two_parts(seed, norm=None, drop="nothing", inputs="as they are", cross=0.0):
    """The teacher of two independent parts, the student and its `blocks` that the explorer `Masks` draws from a seed.

    drop : one of the assumptions of Proposition `factor-blocks`, or "nothing";  inputs : "as they are" or "centred"
    cross : crossed weights start as drawn times this number
    Returns teacher, student and blocks, the nodes' labels by level. Chapter `disentanglement`.
    """
    check.choice("drop", drop, DROPS)
    check.choice("inputs", inputs, ("as they are", "centred"))
    h = Hierarchy.pyramid(5, 2, 1)
    both = [_part(h, m, Generator(seed, 300 + i)) for i, m in enumerate(STATES)]
    t = product_teacher(both)
    P, f, y = [None, *(t.dense(l) for l in range(1, h.depth + 1))], t.features.clone(), t.target.clone()
    if drop == DROPS[1]:
        P = [None] + [.8 * p + .2 * _coupled(h, l, t.prior) for l, p in enumerate(P[1:], 1)]
    if drop == DROPS[2]:
        f[..., 0] *= f[..., STATES[0][0]]
    if drop == DROPS[3]:
        y[:, 0] += .3 * y[:, 0] * y[:, 1]
    if inputs == "centred":
        f -= (t.prior[0][..., None] * f).sum(1, keepdim=True)
    blocks = [torch.tensor([0] * a + [1] * b) for a, b in zip(*NODES)]
    student = start(Student(h, [len(b) for b in blocks], norm=norm, seed=0), seed)
    with torch.no_grad():
        for w, mask in zip(student.W[1:], block_masks(blocks)[1:]):
            w.mul_(torch.where(mask, 1, cross))
    return Teacher(h, t.prior, P, f, y), student, blocks


def _part(h, states, random):
    """One part: drawn priors, a child at the quantile of its parent, a target of mean 0 and variance 1."""
    prior = []
    for m, R in zip(states, h.regions):
        e = -torch.as_tensor(random.uniform(R * m)).log().view(R, m)
        prior.append(.25 / m + .75 * e / e.sum(1, keepdim=True))
    y = torch.as_tensor(random.normal(states[-1]))
    y = y - prior[-1][0] @ y
    y = y / (prior[-1][0] @ y**2).sqrt()
    return Teacher(h, prior, [None] + [_coupled(h, l, prior) for l in range(1, h.depth + 1)], target=y[:, None])


def _coupled(h, l, prior, ρ=0.9):
    """(1-ρ) P(z_β) + ρ times the overlap of the intervals that the states of parent and child take in [0, 1]."""
    above, below = prior[l][:, None].expand(*h.children[l].shape, -1), prior[l - 1][h.children[l]]
    high, right = above.cumsum(-1)[..., None], below.cumsum(-1)[..., None, :]
    overlap = torch.minimum(high, right) - torch.maximum(high - above[..., None], right - below[..., None, :])
    return (1 - ρ) * below[..., None, :] + ρ * overlap.clamp(min=0) / above[..., None]
