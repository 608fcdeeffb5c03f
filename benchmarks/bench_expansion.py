"""Speed of the recursion on one core: absolute times by pytest-benchmark, then a table of ratios of the same run.

    make bench                                        both
    python benchmarks/bench_expansion.py              the table of ratios alone
    python -m pytest benchmarks/bench_expansion.py --benchmark-enable --benchmark-only -k "cycle and states2"

A *cycle* is forward + backward + update on a latent tree with 16 nodes per region. What is compared is timed in
turns, round by round, in seconds of processor time (a neighbour's load does not count), and the best round counts: a
machine's speed drifts, a ratio of best rounds drifts little.
"""
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

import tsframe as tsf

torch.set_num_threads(1)
NODES, MANY = 16, 32


def pair(depth, states, ensemble=()):
    """A latent tree with branching 2 and a student with 16 nodes per region."""
    hierarchy = tsf.Hierarchy.tree(depth)
    teacher = tsf.Teacher.latent_tree(hierarchy, states, seed=0)
    student = tsf.Student(hierarchy, [states] + [NODES] * (depth - 1) + [states], ensemble=ensemble, seed=1)
    return student, teacher


def cycle(student, teacher):
    """Forward, backward, update."""
    with torch.no_grad():
        e = tsf.backward(tsf.expand(student, teacher), student, teacher)
        return tsf.weight_update(e, teacher)


def autograd_package(student, teacher):
    """The same updates by autograd through `expand`."""
    loss = tsf.reduced_loss(tsf.expand(student, teacher), teacher).sum()
    return [None, *torch.autograd.grad(-loss, student.W[1:])]


def autograd_plain(student, teacher):
    """The same updates by autograd through the bare recursion, nothing checked and nothing kept."""
    F = teacher.features
    for l, W in enumerate(student.W[1:], start=1):
        seen = teacher.P[l] @ F.unflatten(-3, teacher.hierarchy.children[l].shape)
        H = seen.transpose(-3, -2).flatten(-2) @ W.flatten(-3, -2)
        F = H if l == teacher.hierarchy.depth else torch.relu(H)
    loss = ((F - teacher.target).square().sum(-1) * teacher.prior[-1]).sum() / 2
    return [None, *torch.autograd.grad(-loss, student.W[1:])]


def training(student, teacher, steps=20):
    """`steps` steps of gradient descent in table space, at a rate that moves nothing."""
    tsf.train(student, teacher, steps=steps, lr=1e-12)


CASES = {f"states{m}-depth{d}-students{s}": (d, m, (s,) if s > 1 else ())
         for m, d, s in ((2, 6, 1), (16, 6, 1), (2, 6, MANY), (16, 6, MANY), (2, 11, 1), (2, 12, 1))}


@pytest.mark.parametrize("case", CASES)
def test_cycle(benchmark, case):
    benchmark(cycle, *pair(*CASES[case]))


@pytest.mark.parametrize("students", [1, MANY])
@pytest.mark.parametrize("states", [2, 16])
@pytest.mark.parametrize("route", [autograd_package, autograd_plain])
def test_autograd(benchmark, route, states, students):
    student, teacher = pair(6, states, (students,) if students > 1 else ())
    for a, b in zip(route(student, teacher)[1:], cycle(student, teacher)[1:]):
        assert (a - b).abs().max() < 1e-12
    benchmark(route, student, teacher)


@pytest.mark.parametrize("students", [1, MANY])
@pytest.mark.parametrize("states", [2, 16])
def test_twenty_training_steps(benchmark, states, students):
    benchmark(training, *pair(6, states, (students,) if students > 1 else ()))


def test_ratios(benchmark, capsys):
    table = benchmark.pedantic(ratios, rounds=1)
    with capsys.disabled():
        print("\n" + table)


def best(calls, seconds=2.0, chunk=0.01):
    """Processor seconds of each call, in turns: a round runs each for about `chunk` s; the best round counts."""
    def clock(call, repeats):
        start = time.process_time()
        for _ in range(repeats):
            call()
        return (time.process_time() - start) / repeats
    repeats = {name: max(1, int(chunk / max(clock(call, 3), 1e-6))) for name, call in calls.items()}
    least, end = dict.fromkeys(calls, float("inf")), time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, call in calls.items():
            least[name] = min(least[name], clock(call, repeats[name]))
    return least


def work(student, teacher):
    """Multiply-adds x 2 of one cycle's matrix products, and bytes of W moved: read, read, and dW written."""
    flops = 0
    for l, W in enumerate(student.W[1:], start=1):
        (k, j), m, below = W.shape[-2:], teacher.states[l], teacher.states[l - 1]
        edges = W.numel() // (k * j)
        tables = 2 * m * below * k * edges * (1 if l == 1 else 2)        # P F, and P^b G W^T above level 1
        flops += tables + 2 * m * k * j * edges * (2 if l == 1 else 3)   # F W and the update, and G W^T above level 1
    return flops, 3 * 8 * sum(W.numel() for W in student.W[1:])


def machine(bytes_of_W):
    """Measured rates: matrix products (flop/s) and copying blocks as large as all W (bytes/s, read + write)."""
    a, n = torch.randn(768, 768, dtype=torch.float64), max(bytes_of_W // 8, 1)
    x = torch.randn(n, dtype=torch.float64)
    y = torch.empty_like(x)
    t = best({"product": lambda: a @ a, "copy": lambda: y.copy_(x)}, 1.5)
    return 2 * 768**3 / t["product"], 16 * n / t["copy"]


def ratios():
    """The table, as text."""
    lines = [f"{'measured in one run, one thread, float64':<58}{'found':>10}{'guide':>10}"]

    def row(what, found, guide=""):
        lines.append(f"{what:<58}{found:>10}{guide:>10}")

    for m, guide, share in ((2, 0.5, 1 / 3), (16, 0.8, 1.0)):
        one, teacher = pair(6, m)
        many, _ = pair(6, m, (MANY,))
        t = best({"one": lambda: cycle(one, teacher), "many": lambda: cycle(many, teacher),
                  "one a": lambda: autograd_package(one, teacher), "many a": lambda: autograd_package(many, teacher),
                  "one b": lambda: autograd_plain(one, teacher), "many b": lambda: autograd_plain(many, teacher),
                  "one train": lambda: training(one, teacher, 9), "many train": lambda: training(many, teacher, 9)}, 6)
        flops, moved = work(many, teacher)
        rate, bandwidth = machine(moved // 3)
        row(f"{m} states: one student, ms (a guide)", f"{1e3 * t['one']:.3f}", f"{guide}")
        row(f"{m} states: {MANY} students, per student / one alone", f"{t['many'] / MANY / t['one']:.3f}", f"{share:.3f}")
        row(f"{m} states: one / autograd through the package", f"{t['one'] / t['one a']:.3f}", "< 1")
        row(f"{m} states: one / autograd through the bare recursion", f"{t['one'] / t['one b']:.3f}", "< 1")
        row(f"{m} states: {MANY} / autograd through the package", f"{t['many'] / t['many a']:.3f}", "1.3")
        row(f"{m} states: {MANY} / autograd through the bare recursion", f"{t['many'] / t['many b']:.3f}", "1.3")
        row(f"{m} states: a training step / a cycle, one student", f"{t['one train'] / 10 / t['one']:.3f}")
        row(f"{m} states: a training step / a cycle, {MANY} students", f"{t['many train'] / 10 / t['many']:.3f}")
        row(f"{m} states: {MANY} students, share of the product rate {rate / 1e9:.1f} Gflop/s",
            f"{flops / rate / t['many']:.3f}")
        row(f"{m} states: {MANY} students, W moved, share of {bandwidth / 1e9:.1f} GB/s",
            f"{moved / bandwidth / t['many']:.3f}")
    deep, deeper = pair(11, 2), pair(12, 2)
    t = best({"11": lambda: cycle(*deep), "12": lambda: cycle(*deeper)}, 6, chunk=0.05)
    sizes = {name: sum(p[0].hierarchy.regions) for name, p in (("11", deep), ("12", deeper))}
    row("2 states: time per region, depth 12 / depth 11", f"{t['12'] / sizes['12'] / (t['11'] / sizes['11']):.3f}", "1.1")
    row("2 states: depth 12, ms", f"{1e3 * t['12']:.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(ratios())
