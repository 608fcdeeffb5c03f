"""Training against explicit loops with autograd and torch.optim; ensembles against solo runs; History."""
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tsframe as tsf
from strategies import close, coarse_ladders, either_ladder, few, finest_ladders, latent_teachers, scenes, students
from witness import network, recursion, sample_loss, weights_of

METHODS = ["sgd", "momentum", "adam"]
PYRAMID = tsf.Hierarchy.pyramid(4, 2, 1)


def copy(student):
    """A student of its own with the same weights."""
    other = tsf.Student(student.hierarchy, student.widths, ensemble=student.ensemble, activation=student.activation,
                        bias=student.b[1] is not None, seed=0)
    other.load_state_dict(student.state_dict())
    return other


def optimizer(method, parameters, lr, momentum=0.9):
    return torch.optim.Adam(parameters, lr) if method == "adam" else torch.optim.SGD(
        parameters, lr, momentum if method == "momentum" else 0.0)


def explicit(student, loss_of, steps, lr, method, momentum=0.9):
    """The witness: plain tensors, autograd, torch.optim. Returns losses (steps + 1) and the final W, b."""
    W, b = weights_of(student)
    opt = optimizer(method, [x for x in (*W, *b) if x is not None], lr, momentum)
    losses = []
    for step in range(steps + 1):
        loss = loss_of(W, b)
        losses.append(loss.item())
        if step < steps:
            opt.zero_grad()
            loss.backward()
            opt.step()
    return torch.tensor(losses, dtype=torch.float64), W, b


def same_weights(student, W, b, tol=1e-12, index=()):
    for l in range(1, student.hierarchy.depth + 1):
        close(student.W[l][index], W[l], tol)
        if b[l] is not None:
            close(student.b[l][index], b[l], tol)


def some_ladder(rows=40, seed=0, features=2, classes=3):
    """Repeated contents, conflicting labels, weights."""
    rng = np.random.default_rng(seed)
    pool = rng.normal(size=(4, features))
    return tsf.Ladder.finest(PYRAMID, pool[rng.integers(0, 4, (rows, 4))], rng.integers(0, classes, rows),
                             rng.exponential(size=rows), classes)


def some_student(ensemble=(), bias=True, seed=0, widths=(2, 4, 4, 3)):
    return tsf.Student(PYRAMID, list(widths), ensemble=ensemble, bias=bias, seed=seed)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bias", [False, True])
def test_table_space_is_autograd_on_the_reduced_loss(method, bias):
    h = tsf.Hierarchy.tree(3)
    teacher = tsf.Teacher.latent_tree(h, [2, 3, 2, 3], None, seed=1)
    student = tsf.Student(h, [2, 4, 4, 3], bias=bias, seed=0)

    def loss_of(W, b):
        F, _ = recursion(W, b, teacher)
        return ((F[-1][0] - teacher.target).square().sum(-1) * teacher.prior[-1][0]).sum() / 2
    losses, W, b = explicit(student, loss_of, 30, 0.05, method)
    history = tsf.train(student, teacher, steps=30, lr=0.05, method=method)
    close(history.loss, losses, 1e-11)
    same_weights(student, W, b, 1e-10 if method == "adam" else 1e-11)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bias", [False, True])
def test_full_batches_are_autograd_and_torch_optim(method, bias):
    ladder, student = some_ladder(), some_student(bias=bias)

    def loss_of(W, b):
        return sample_loss(network(PYRAMID, W, b, ladder.inputs)[0][-1], ladder.labels, ladder.weights)
    losses, W, b = explicit(student, loss_of, 30, 0.05, method)
    history = tsf.train(student, ladder, steps=30, lr=0.05, method=method)
    close(history.loss, losses, 1e-11)
    same_weights(student, W, b, 1e-10 if method == "adam" else 1e-11)
    assert losses[-1] < losses[0]


def test_the_loss_is_that_of_the_outputs_where_the_top_is_centred_too():
    ladder = some_ladder()
    student = tsf.Student(PYRAMID, [2, 4, 4, 3], norm=tsf.BatchNorm(top=True), seed=0)
    with torch.no_grad():
        loss = sample_loss(student(ladder.inputs)[-1], ladder.labels, torch.full((40,), 1 / 40, dtype=torch.float64))
    data = tsf.Ladder.finest(PYRAMID, ladder.inputs, ladder.labels)
    close(tsf.train(student, data, steps=0, lr=1.0).loss[0], loss)


def test_momentum_is_the_given_number_and_only_counts_for_its_method():
    ladder = some_ladder()

    def loss_of(W, b):
        return sample_loss(network(PYRAMID, W, b, ladder.inputs)[0][-1], ladder.labels, ladder.weights)
    student = some_student()
    _, W, b = explicit(student, loss_of, 10, 0.05, "momentum", 0.5)
    tsf.train(student, ladder, steps=10, lr=0.05, method="momentum", momentum=0.5)
    same_weights(student, W, b)
    plain, other = some_student(), some_student()
    tsf.train(plain, ladder, steps=5, lr=0.05)
    tsf.train(other, ladder, steps=5, lr=0.05, method="sgd", momentum=0.5)
    assert all(torch.equal(x, y) for x, y in zip(plain.W[1:], other.W[1:]))


@pytest.mark.parametrize("method", METHODS)
def test_mini_batches_are_autograd_on_the_rows_drawn(method):
    """The rows are those that `ladder.sample` draws from the same generator, one draw a step."""
    ladder, student = some_ladder(), some_student()
    rng = torch.Generator().manual_seed(5)

    def loss_of(W, b):
        inputs, labels = ladder.sample(8, seed=rng)
        return sample_loss(network(PYRAMID, W, b, inputs)[0][-1], labels, torch.full((8,), 1 / 8, dtype=torch.float64))
    losses, W, b = explicit(student, loss_of, 20, 0.05, method)
    history = tsf.train(student, ladder, steps=20, lr=0.05, method=method, batch=8, seed=5)
    close(history.loss, losses, 1e-11)
    same_weights(student, W, b, 1e-10 if method == "adam" else 1e-11)


def test_batches_follow_their_seed():
    teacher = tsf.Teacher.latent_tree(tsf.Hierarchy.tree(2), seed=0)
    runs = []
    for data, seed in [(teacher.sample, 3), (teacher.sample, 3), (teacher.sample, torch.Generator().manual_seed(3)),
                       (lambda n, *, seed: teacher.sample(n, seed=seed), 3), (teacher.sample, 4)]:
        student = tsf.Student(teacher.hierarchy, [2, 4, 2], seed=0)
        runs.append((tsf.train(student, data, steps=10, lr=0.1, batch=16, seed=seed).loss, student.W[1]))
    for loss, W in runs[1:4]:
        assert torch.equal(loss, runs[0][0]) and torch.equal(W, runs[0][1])
    assert not torch.equal(runs[4][0], runs[0][0])
    assert runs[0][0].unique().numel() > 5, "every step draws afresh"


def test_large_batches_approach_the_full_law():
    teacher = tsf.Teacher.latent_tree(tsf.Hierarchy.tree(2), 2, 0.6, seed=0)
    sampled, full = (tsf.Student(teacher.hierarchy, [2, 4, 2], seed=0) for _ in range(2))
    a = tsf.train(sampled, teacher.sample, steps=20, lr=0.1, batch=20_000, seed=0).loss
    b = tsf.train(full, tsf.Ladder.enumerate(teacher), steps=20, lr=0.1).loss
    assert (a - b).abs().max() < 0.02 and b[-1] < b[0] - 0.02


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("space", ["table", "full batch", "mini-batch", "sampler"])
def test_a_member_of_an_ensemble_trains_as_its_solo_run(method, space):
    teacher = tsf.Teacher.latent_tree(tsf.Hierarchy.tree(2), 2, 0.7, seed=0)
    data, extra = {"table": (teacher, {}), "full batch": (tsf.Ladder.enumerate(teacher), {}),
                   "mini-batch": (tsf.Ladder.finest(teacher.hierarchy, *teacher.sample(200, seed=1)), dict(batch=16, seed=2)),
                   "sampler": (teacher.sample, dict(batch=16, seed=2))}[space]
    steps = 25
    many = tsf.Student(teacher.hierarchy, [2, 4, 2], ensemble=(2, 2), bias=True, seed=0)
    solos = {index: many.member(*index) for index in [(0, 0), (0, 1), (1, 0), (1, 1)]}
    history = tsf.train(many, data, steps=steps, lr=0.05, method=method, **extra)
    assert history.loss.shape == (steps + 1, 2, 2)
    for index, solo in solos.items():
        if "seed" in extra:
            extra["seed"] = 2
        own = tsf.train(solo, data, steps=steps, lr=0.05, method=method, **extra)
        close(history.loss[(slice(None), *index)], own.loss)
        same_weights(many, [None if w is None else w.detach() for w in solo.W], solo.b, index=index)
    assert not torch.equal(many.W[1][0, 0], many.W[1][1, 1])


@given(st.data())
@few(10)
def test_random_scenes_train_by_their_updates(data):
    """One sgd step adds lr times the update that `weight_update` and `measure` give."""
    ladder, student = data.draw(scenes(either_ladder))
    teacher, lr = ladder.teacher(), 0.01
    e = tsf.backward(tsf.expand(student, teacher), student, teacher)
    for what, dW, db in ((teacher, tsf.weight_update(e, teacher), tsf.bias_update(e, teacher)),
                         (ladder, tsf.measure(student, ladder).dW, tsf.measure(student, ladder).db)):
        moved = copy(student)
        tsf.train(moved, what, steps=1, lr=lr)
        same_weights(moved, [None] + [w + lr * d for w, d in zip(student.W[1:], dW[1:])],
                     [None] + [None if b is None else b + lr * d for b, d in zip(student.b[1:], db[1:])])


@given(latent_teachers(), st.data())
@few(10)
def test_a_small_step_lowers_the_reduced_loss(teacher, data):
    student = data.draw(students(teacher.hierarchy, teacher.features.shape[-1], teacher.target.shape[-1]))
    loss = tsf.train(student, teacher, steps=3, lr=1e-6).loss
    assert (loss[1:] <= loss[:-1] + 1e-12 * loss[:-1].clamp(min=1)).all()


@given(coarse_ladders(PYRAMID) | finest_ladders(PYRAMID))
@few(8)
def test_seeds_of_numpy_are_ints_too(ladder):
    a, b = (tsf.Student(PYRAMID, [ladder.inputs.shape[-1], 3, 3, ladder.classes], seed=0) for _ in range(2))
    x = tsf.train(a, ladder, steps=3, lr=1e-3, batch=4, seed=np.int64(7)).loss
    assert torch.equal(x, tsf.train(b, ladder, steps=3, lr=1e-3, batch=4, seed=7).loss)


# ---- what is kept ------------------------------------------------------------------------------------------------

def test_history_keeps_every_so_many_steps_and_the_last():
    ladder, student, calls = some_ladder(), some_student(ensemble=(3,)), []

    def keep(step, who):
        assert who is student
        calls.append(step)
        return who.W[1].detach().clone()
    full = tsf.train(copy(student), ladder, steps=11, lr=0.01)
    start = student.W[1].detach().clone()
    history = tsf.train(student, ladder, steps=11, lr=0.01, keep=keep, every=4)
    assert history.steps == calls == [0, 4, 8, 11] and full.steps == list(range(12))
    assert history.loss.shape == (4, 3) and torch.equal(history.loss, full.loss[[0, 4, 8, 11]])
    assert len(history.kept) == 4 and torch.equal(history.kept[0], start), "kept before the step's update"
    assert torch.equal(history.kept[-1], student.W[1]), "the last record is the final student"
    assert not torch.equal(history.kept[1], history.kept[0]) and not history.loss.requires_grad


def test_no_steps_record_the_start_and_move_nothing():
    student, before = some_student(), some_student()
    history = tsf.train(student, some_ladder(), steps=0, lr=0.1)
    assert history.steps == [0] and history.loss.shape == (1,)
    assert all(torch.equal(a, b) for a, b in zip(student.W[1:], before.W[1:]))


def test_training_leaves_no_gradients_behind_and_its_data_alone():
    ladder, student = some_ladder(), some_student()
    before = [x.clone() for x in (ladder.inputs, ladder.labels, ladder.weights)]
    tsf.train(student, ladder, steps=2, lr=0.1)
    tsf.train(student, ladder.teacher(), steps=2, lr=0.1)
    assert all(p.grad is None and p.requires_grad for p in student.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, (ladder.inputs, ladder.labels, ladder.weights)))
    state = torch.get_rng_state()
    tsf.train(student, ladder, steps=2, lr=0.1, batch=4, seed=0)
    assert torch.equal(state, torch.get_rng_state())


def test_float32_trains_in_float32():
    h = tsf.Hierarchy.tree(2)
    teacher = tsf.Teacher.latent_tree(h, seed=0).to(torch.float32)
    student = tsf.Student(h, [2, 3, 2], seed=0).to(torch.float32)
    for data, extra in ((teacher, {}), (teacher.sample, dict(batch=5, seed=0))):
        assert tsf.train(student, data, steps=2, lr=0.1, **extra).loss.dtype == torch.float32


def test_the_progress_bar_is_off_unless_asked_for(capfd):
    ladder = some_ladder()
    tsf.train(some_student(), ladder, steps=3, lr=0.01)
    out = capfd.readouterr()
    assert out.out == out.err == ""
    tsf.train(some_student(), ladder, steps=3, lr=0.01, progress=True)
    assert "%" in "".join(capfd.readouterr())


# ---- what is refused ---------------------------------------------------------------------------------------------

def test_divergence_names_the_step_the_students_and_the_rate():
    many = some_student(ensemble=(3,), bias=False)
    with torch.no_grad():
        for w in many.W[1:]:
            w[1].mul_(1e60)
    with pytest.raises(ValueError, match=r"training must keep the loss finite; at step \d+ the loss of students "
                                         r"\[\[1\]\] is not, with lr=0.01"):
        tsf.train(many, some_ladder(), steps=50, lr=0.01)
    with pytest.raises(ValueError, match=r"at step \d+ the loss is not, with lr=1e\+06"):
        tsf.train(some_student(), some_ladder(), steps=500, lr=1e6)
    with pytest.raises(ValueError, match=r"training must keep the loss finite"):
        tsf.train(some_student(), some_ladder().teacher(), steps=500, lr=1e6)


@pytest.mark.parametrize("change, error, message", [
    (dict(batch=4), TypeError, "seed must be an int or a torch.Generator; found NoneType None"),
    (dict(batch=4, seed="0"), TypeError, "seed must be an int or a torch.Generator; found str '0'"),
    (dict(batch=4, seed=1.0), TypeError, "seed must be an int or a torch.Generator; found float 1.0"),
    (dict(batch=4, seed=True), TypeError, "seed must be an int or a torch.Generator; found bool True"),
    (dict(batch=4, seed=-1), ValueError, r"seed must lie between 0 and 2\*\*63 - 1; found -1"),
    (dict(batch=0, seed=0), ValueError, "batch must be at least 1; found 0"),
    (dict(batch=2.5, seed=0), TypeError, "batch must be an int; found float 2.5"),
    (dict(steps=-1), ValueError, "steps must be at least 0; found -1"),
    (dict(steps=1.5), TypeError, "steps must be an int; found float 1.5"),
    (dict(lr=0), ValueError, "lr must be positive; found 0"),
    (dict(lr=-0.1), ValueError, "lr must be positive; found -0.1"),
    (dict(lr=float("nan")), ValueError, "lr must be finite; found nan"),
    (dict(lr="fast"), TypeError, "lr must be a number; found str 'fast'"),
    (dict(method="newton"), ValueError, "method must be one of 'sgd', 'momentum', 'adam'; found 'newton'"),
    (dict(method="momentum", momentum=1.5), ValueError, r"momentum must lie in \[0, 1\]; found 1.5"),
    (dict(every=0), ValueError, "every must be at least 1; found 0"),
    (dict(keep=3), TypeError, r"keep must be callable as keep\(step, student\); found int"),
    (dict(data=3), TypeError, "data must be a Teacher, a Ladder or a sampler; found int"),
    (dict(student=3), TypeError, "student must be a Student; found int"),
])
def test_refused(change, error, message):
    arguments = dict(student=some_student(), data=some_ladder(), steps=2, lr=0.1) | change
    before = some_student()
    with pytest.raises(error, match=message):
        tsf.train(**arguments)
    if isinstance(arguments["student"], tsf.Student):
        assert torch.equal(arguments["student"].W[1], before.W[1])


def test_refused_where_nothing_is_sampled_or_nothing_fits():
    ladder, teacher = some_ladder(), some_ladder().teacher()
    with pytest.raises(ValueError, match="batch must be None in table space, where nothing is sampled; found 4"):
        tsf.train(some_student(), teacher, steps=1, lr=0.1, batch=4, seed=0)
    with pytest.raises(TypeError, match="batch must be an int; found NoneType None"):
        tsf.train(some_student(), ladder.sample, steps=1, lr=0.1, seed=0)
    other = tsf.Student(tsf.Hierarchy.tree(2), [2, 4, 3], seed=0)
    for data in (ladder, teacher):
        with pytest.raises(ValueError, match="same hierarchy; found Hierarchy"):
            tsf.train(other, data, steps=1, lr=0.1)
    with pytest.raises(ValueError, match=r"widths\[-1\] of the student must be .* classes, 3; found 2"):
        tsf.train(some_student(widths=(2, 4, 4, 2)), teacher, steps=1, lr=0.1)
    with pytest.raises(ValueError, match=r"classes, 3; found 2|labels must hold class indices between 0 and 1"):
        tsf.train(some_student(widths=(2, 4, 4, 2)), ladder, steps=1, lr=0.1)
    with pytest.raises(ValueError, match=r"features, 2; found 5|inputs must have shape .*; found \(40, 4, 2\)"):
        tsf.train(some_student(widths=(5, 4, 4, 3)), ladder, steps=1, lr=0.1)


@pytest.mark.parametrize("sampler", [
    lambda n, *, seed: (torch.zeros(n, 4, 2), torch.full((n,), 7)), lambda n, *, seed: None,
    lambda n, *, seed: (torch.full((n, 4, 2), float("nan")), torch.zeros(n, dtype=torch.long)),
    lambda n, *, seed: (torch.zeros(n, 4, 2), torch.zeros(n + 1, dtype=torch.long)),
    lambda n, *, seed: (torch.zeros(0, 4, 2), torch.zeros(0, dtype=torch.long))])
def test_a_sampler_that_does_not_fit_is_named(sampler):
    with pytest.raises((ValueError, TypeError), match=r"(labels|inputs).* must|sampler|data.* must"):
        tsf.train(some_student(), sampler, steps=1, lr=0.1, batch=4, seed=0)
