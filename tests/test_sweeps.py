"""Sweeps: the same numbers on every backend, results kept as they come, a cut that does no harm."""
import threading
import time
from functools import partial
from pathlib import Path

import joblib
import pytest
import torch

import tsframe as tsf
from tsframe.sweeps import sweep

GRID = dict(width=[3, 6], decay=[0.0, 1.0], seed=[0, 1])


def learn(width, decay, seed):
    """How well a small student of a small teacher does: numbers that depend on every bit of the training."""
    teacher = tsf.dense_teacher([5, 3, 4], decay=decay, seed=seed)
    student = tsf.dense_student([5, width, 4], ensemble=(4,), seed=seed + 1)
    loss = tsf.train_dense(student, teacher, tsf.normal_inputs(5), steps=30, lr=0.1, batch=32, seed=seed).loss
    return loss[-1].tolist(), student.W[1].sum().item()


def test_the_same_numbers_alone_in_processes_and_on_a_dask_cluster(tmp_path):
    from distributed import Client, LocalCluster

    want = [(dict(width=w, decay=d, seed=s), learn(w, d, s)) for w in (3, 6) for d in (0.0, 1.0) for s in (0, 1)]
    assert sweep(learn, GRID, jobs=1) == want
    assert sweep(learn, GRID, jobs=2, folder=tmp_path / "own") == want
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as cluster, Client(cluster):
        with joblib.parallel_config(backend="dask"):
            assert sweep(learn, GRID, folder=tmp_path / "dask") == want
    kept = [sorted(f.name for f in (tmp_path / name).iterdir()) for name in ("own", "dask")]
    assert kept[0] == kept[1] and len(kept[0]) == 8 and all(name.endswith(".pkl") for name in kept[0])


def fragile(x, log, broken):
    with open(log, "a") as f:
        f.write(f"{x} ")
    if x == 2 and Path(broken).exists():
        raise ValueError("the machine is on fire")
    return x**2


def test_a_sweep_goes_on_where_it_was_cut_off(tmp_path):
    log, broken, folder = tmp_path / "log", tmp_path / "broken", tmp_path / "kept"
    broken.touch()
    grid = dict(x=[0, 1, 2, 3], log=[str(log)], broken=[str(broken)])
    with pytest.raises(RuntimeError, match=r"fragile failed at \{'x': 2.*on fire.*; 3 of 4 results are kept in"):
        sweep(fragile, grid, folder=folder, jobs=1)
    broken.unlink()
    log.write_text("")
    (folder / "half.part").write_bytes(b"cut off while it was written")
    assert [r for _, r in sweep(fragile, grid, folder=folder, jobs=1)] == [0, 1, 4, 9]
    assert log.read_text() == "2 ", "only what was missing is computed"
    victim = next(folder.glob("*.pkl"))
    victim.write_bytes(victim.read_bytes()[:-2])
    assert [r for _, r in sweep(fragile, grid, folder=folder, jobs=1)] == [0, 1, 4, 9]
    assert log.read_text().split()[0] == "2" and len(log.read_text().split()) == 2


def slow(x, folder):
    """Sees, while it runs, what others have left behind."""
    if x:
        end = time.monotonic() + 20
        while not list(Path(folder).glob("*.pkl")) and time.monotonic() < end:
            time.sleep(0.01)
    return len(list(Path(folder).glob("*.pkl")))


def test_results_are_kept_as_they_come(tmp_path):
    seen = sweep(slow, dict(x=[1, 0], folder=[str(tmp_path)]), folder=tmp_path, jobs=2)
    assert seen[0][1] == 1, "the first was still running when the second was on disk"


def test_a_changed_function_starts_anew(tmp_path):
    def make(text):
        path = tmp_path / f"{len(text)}.py"
        path.write_text(text)
        space = {}
        exec(compile(text, str(path), "exec"), space)               # inspect finds the source in the file
        return space["f"]
    a, b = make("def f(x):\n    return x + 1\n"), make("def f(x):\n    return x + 100\n")
    assert [sweep(f, dict(x=[1]), folder=tmp_path / "kept", jobs=1)[0][1] for f in (a, b, a)] == [2, 101, 2]


def test_what_its_source_does_not_tell_apart_is_not_kept(tmp_path):
    def closed(x, a=GRID):
        return tmp_path
    space = {}
    exec("def typed(x):\n    return x", space)
    for function in (partial(threads), closed, lambda x: x, space["typed"]):
        with pytest.raises(TypeError, match="function must be written by def, without a closure, where results are kept"):
            sweep(function, dict(x=[1]), folder=tmp_path, jobs=1)
    assert sweep(partial(threads), dict(x=[1]), jobs=1) == [(dict(x=1), 1)]


def test_functions_of_two_modules_are_two_functions(tmp_path):
    made = []
    for a in (1, 10):
        path = tmp_path / f"module_{a}.py"
        path.write_text("def f(x):\n    return x + A\n")
        space = dict(A=a, __name__=path.stem)
        exec(compile(path.read_text(), str(path), "exec"), space)
        made.append(space["f"])
    assert [sweep(f, dict(x=[1]), folder=tmp_path / "kept", jobs=1)[0][1] for f in made] == [2, 11]


def test_a_damaged_file_is_computed_again(tmp_path):
    sweep(threads, dict(x=[1]), folder=tmp_path, jobs=1)
    next(tmp_path.glob("*.pkl")).write_bytes(b"cno.such.module\nThing\n.")
    assert sweep(threads, dict(x=[1]), folder=tmp_path, jobs=1) == [(dict(x=1), 1)]


def local(x):
    return (lambda: x) if x else 0


def test_a_result_that_cannot_be_kept_is_told_with_its_setting(tmp_path):
    with pytest.raises(RuntimeError, match=r"local failed at \{'x': 1\}: .*; 1 of 2 results are kept"):
        sweep(local, dict(x=[1, 0]), folder=tmp_path, jobs=1)
    assert [f.suffix for f in tmp_path.iterdir()] == [".pkl"]


def test_threads_are_one_inside_and_as_before_outside():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert [r for _, r in sweep(threads, dict(x=[0, 1]), jobs=1)] == [1, 1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def threads(x):
    return torch.get_num_threads()


def test_progress_is_shown_when_asked_for(capfd):
    sweep(threads, dict(x=[0]), jobs=1)
    assert capfd.readouterr().err == ""
    sweep(threads, dict(x=[0]), jobs=1, progress=True)
    assert "%" in capfd.readouterr().err


def test_an_error_that_cannot_travel_is_told_in_words():
    with pytest.raises(RuntimeError, match="stubborn failed.*Odd: no"):
        sweep(stubborn, dict(x=[0]), jobs=1)


class Odd(Exception):
    """It holds what cannot be pickled."""


def stubborn(x):
    error = Odd("no")
    error.lock = threading.Lock()
    raise error


@pytest.mark.parametrize("args, more, error, words", [
    ((3, GRID), {}, TypeError, "function must be callable; found int"),
    ((learn, [1]), {}, TypeError, "grid must be a dict"),
    ((learn, dict(width=3)), {}, TypeError, r"grid\['width'\] must be a list of values; found int 3"),
    ((threads, dict(x="abc")), {}, TypeError, r"grid\['x'\] must be a list"),
    ((threads, dict(x=[])), {}, ValueError, "hold a value"),
    ((threads, dict(x=[torch.ones(2)])), {}, TypeError, "values that JSON can hold"),
    ((threads, dict(x=[float("nan")])), {}, TypeError, "values that JSON can hold; found nan"),
    ((threads, dict(x=[1, 1])), {}, ValueError, "each combination once; found .*1.* twice"),
    ((threads, dict(y=[1])), {}, TypeError, "grid must name the arguments of threads; missing a required argument: 'x'"),
    ((threads, dict(x=[1])), dict(jobs=0), ValueError, "jobs must be 1 or more"),
    ((threads, dict(x=[1])), dict(jobs=1.5), TypeError, "jobs"),
    ((threads, dict(x=[1])), dict(folder=__file__), ValueError, "folder must be a folder; found the file"),
    ((threads, dict(x=[1])), dict(progress=1), TypeError, "progress must be True or False"),
])
def test_refused(args, more, error, words):
    with pytest.raises(error, match=words):
        sweep(*args, **more)
