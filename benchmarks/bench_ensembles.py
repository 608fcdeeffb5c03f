"""Speed of training many dense students together, against one torch.nn network after the other, in one process.

    make bench                                        with the other benchmarks
    python benchmarks/bench_ensembles.py              this table alone

The plain loop has its data in memory and asks its teacher in the loop; autograd and torch.optim do the rest. Both use
one dtype and the same number of threads, and are timed in turns, round by round; the best round of each counts. Times
are of the wall clock: leave the machine to it. The peak is a product of two 1024 x 1024 matrices in the same run.
"""
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from torch import nn

import tsframe as tsf

# hidden widths of the teacher, inputs, outputs, batch, multiplier, students, dtype, aims on one and two threads
DEEP, WIDE = ([10, 15, 20, 25], 20, 100, 64), ([10], 100, 50, 16)
CASES = {
    "deep x10, 8 students": (*DEEP, 10, 8, torch.float32, (1.4, 2.1)),
    "deep x2, 32 students": (*DEEP, 2, 32, torch.float32, (5.5, 10)),
    "two layers x1, 32 students": (*WIDE, 1, 32, torch.float64, (8, None)),
    "two layers x5, 32 students": (*WIDE, 5, 32, torch.float64, (None, None)),
}


def pair(case):
    """Students, teacher, batches (steps, batch, d) and the batch size of a case."""
    hidden, d, outputs, batch, times, many, dtype, _ = CASES[case]
    teacher = tsf.dense_teacher([d, *hidden, outputs], dtype=dtype, seed=0)
    students = tsf.dense_student([d, *(times * m for m in hidden), outputs], ensemble=(many,), dtype=dtype, seed=1)
    return students, teacher, tsf.normal_inputs(d, dtype=dtype)


def together(students, teacher, sampler, batch, steps):
    """All students, by the package."""
    return lambda: tsf.train_dense(students, teacher, sampler, steps=steps, lr=1e-3, batch=batch, seed=0, every=steps)


def modules(net):
    """The first student as torch.nn would have it."""
    layers = []
    for w, b in zip(net.W[1:], net.b[1:]):
        linear = nn.Linear(w.shape[-1], w.shape[-2], dtype=w.dtype)
        linear.weight.data.copy_(w.reshape(-1, *w.shape[-2:])[0])
        linear.bias.data.copy_(b.reshape(-1, b.shape[-1])[0])
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).to(net.device)


def plain(students, teacher, sampler, batch, steps):
    """One student, the way it is usually written."""
    net, answer, loss = modules(students), modules(teacher), nn.MSELoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    data = torch.stack([sampler(batch, seed=seed) for seed in range(steps)]).to(students.device)

    def run():
        for x in data:
            with torch.no_grad():
                target = answer(x)
            optimizer.zero_grad()
            loss(net(x), target).backward()
            optimizer.step()
    return run


def best(calls, seconds):
    """Wall-clock seconds of each call: the best of rounds in which each runs in turn."""
    sync = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    least, end = dict.fromkeys(calls, float("inf")), time.perf_counter() + seconds
    for call in calls.values():
        call()
    while time.perf_counter() < end:
        for name, call in calls.items():
            sync()
            start = time.perf_counter()
            call()
            sync()
            least[name] = min(least[name], time.perf_counter() - start)
    return least


def work(students, batch):
    """Multiply-adds x 2 of one step of one student: three products a layer, two in the first."""
    n = students.widths
    return 6 * batch * sum(a * b for a, b in zip(n, n[1:])) - 2 * batch * n[0] * n[1]


def row(case, device="cpu", seconds=4.0):
    """What one case reaches: (plain us, together us per student-step, share of peak)."""
    *_, batch, times, many, dtype, _ = CASES[case]
    students, teacher, sampler = pair(case)
    students, teacher = students.to(device), teacher.to(device)
    steps = 20 if times == 10 else 60
    square = torch.randn(1024, 1024, dtype=dtype, device=device)
    t = best({"plain": plain(students, teacher, sampler, batch, steps), "peak": lambda: square @ square,
              "together": together(students, teacher, sampler, batch, steps)}, seconds)
    one, all_ = t["plain"] / steps, t["together"] / (steps + 1) / many
    return one, all_, work(students, batch) / all_ / (2 * 1024**3 / t["peak"])


def ratios():
    """The table, as text."""
    title = "students trained together, measured in one run"
    lines = [f"{title:<46}{'plain us':>10}{'us':>8}{'ratio':>8}{'aim':>6}{'share of peak':>15}"]
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for case, (*_, aims) in CASES.items():
            one, all_, share = row(case)
            label = f"{case}, {threads} thread{'s' * (threads > 1)}"
            lines.append(f"{label:<46}{1e6 * one:>10.1f}{1e6 * all_:>8.1f}{one / all_:>8.2f}"
                         f"{aims[threads - 1] or '':>6}{share:>15.2f}")
    torch.set_num_threads(before)
    for case in CASES if torch.cuda.is_available() else ():
        one, all_, share = row(case, "cuda")
        lines.append(f"{case + ', GPU':<46}{1e6 * one:>10.1f}{1e6 * all_:>8.1f}{one / all_:>8.2f}{'':>6}{share:>15.2f}")
    return "\n".join(lines)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("route", [together, plain])
def test_steps(benchmark, route, case):
    students, teacher, sampler = pair(case)
    benchmark(route(students, teacher, sampler, CASES[case][3], 20))


def test_ensemble_ratios(benchmark, capsys):
    table = benchmark.pedantic(ratios, rounds=1)
    with capsys.disabled():
        print("\n" + table)


if __name__ == "__main__":
    print(ratios())
