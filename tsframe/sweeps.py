"""Floor 1. Sweeps: one function on a grid of settings, in many processes or machines, kept as results come."""
import hashlib
import inspect
import itertools
import json
import os
import pickle
import tempfile
from pathlib import Path

import joblib
import torch
from tqdm.auto import tqdm

from . import _checks as check


def sweep(function, grid, *, folder=None, jobs=-1, progress=False):
    """[(setting, function(**setting)), ...] for every combination of the values in `grid`, in its order.

    function : of keyword arguments that returns anything that pickles; defined at the top of a module or a notebook, and
        with a `folder` by `def`, without a closure
    grid : {name: list of values}, values that JSON can hold (numbers, text, True, None, lists); a seed is one of them
    folder : where each result is kept as it comes, one file a setting; what is there is not computed again, so that
        a sweep goes on where it was cut off. A file belongs to the setting and to the function's module, name and source:
        a changed function starts anew, but not one changed in what it calls. Files are pickles: use no folder that
        you do not trust
    jobs : how many at once, as joblib's n_jobs; -1 is all cores. Each call computes on one thread, so that numbers do
        not depend on where it runs
    progress : whether to show a bar

    The processes are joblib's. One line around the call sends it elsewhere, with the same numbers: after
    client = distributed.Client(...), or after ray.util.joblib.register_ray(),

        with joblib.parallel_config(backend="dask"):      # or "ray"
            results = tsf.sweep(...)

    Raises `RuntimeError` naming the setting in which the function failed; results that came before are kept.
    Chapter `deep`.
    """
    settings, jobs = _settings(function, grid), _jobs(jobs)
    check.flag("progress", progress)
    folder, found = None if folder is None else Path(folder), {}
    identity = None if folder is None else _identity(function)
    keys = [_key(identity, setting) for setting in settings]
    if folder is not None:
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"folder must be a folder; found the file {folder}")
        folder.mkdir(parents=True, exist_ok=True)
        found = {key: result for key in keys if (result := _load(folder / f"{key}.pkl")) is not _NOTHING}
    missing = [(key, setting) for key, setting in zip(keys, settings) if key not in found]
    run = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
    with tqdm(total=len(settings), initial=len(found), disable=not progress, leave=False) as bar:
        failed = None
        for key, ok, result in run(joblib.delayed(_one)(function, key, setting) for key, setting in missing):
            if ok and folder is not None:
                try:
                    kept = pickle.dumps(result)
                except Exception as error:
                    ok, result = False, error
                else:
                    _keep(folder / f"{key}.pkl", kept)
            if not ok:
                failed = failed or (key, result)
                continue
            found[key] = result
            bar.update()
    if failed is not None:
        setting = settings[keys.index(failed[0])]
        there = "came" if folder is None else f"are kept in {folder}"
        raise RuntimeError(f"{_name(function)} failed at {setting}: {failed[1]!r}; {len(found)} of {len(settings)} "
                           f"results {there}") from failed[1]
    return [(setting, found[key]) for key, setting in zip(keys, settings)]


_NOTHING = object()


def _one(function, key, setting):
    """One result, on one thread: (key, True, result), or (key, False, the error)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return key, True, function(**setting)
    except Exception as error:                                      # it travels: other settings go on
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return key, False, error
    finally:
        torch.set_num_threads(threads)


def _settings(function, grid):
    """The combinations, each a dict."""
    if not callable(function):
        raise TypeError(f"function must be callable; found {type(function).__name__}")
    if not isinstance(grid, dict) or not all(isinstance(name, str) for name in grid):
        raise TypeError("grid must be a dict of names; found "
                        f"{list(grid) if isinstance(grid, dict) else type(grid).__name__}")
    for name, values in grid.items():
        if isinstance(values, (str, bytes)) or not isinstance(values, (list, tuple, range)):
            raise TypeError(f"grid[{name!r}] must be a list of values; found {type(values).__name__} {values!r}")
        if not len(values):
            raise ValueError(f"grid[{name!r}] must hold a value at least; found none")
        what = f"grid[{name!r}] must hold values that JSON can hold"
        for value in values:
            try:
                same = json.loads(json.dumps(value, allow_nan=False))
            except (TypeError, ValueError) as error:
                raise TypeError(f"{what}; found {value!r} ({error})") from None
            if not isinstance(value, (tuple, dict)) and same != value:
                raise TypeError(f"{what}; found {value!r}")
    settings = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
    texts = [json.dumps(s, sort_keys=True) for s in settings]
    if len(set(texts)) < len(texts):
        twice = next(t for t in texts if texts.count(t) > 1)
        raise ValueError(f"grid must hold each combination once; found {twice} twice")
    try:
        inspect.signature(function).bind(**settings[0])
    except TypeError as error:
        raise TypeError(f"grid must name the arguments of {_name(function)}; {error}") from None
    except ValueError:                                              # a function of C has no signature
        pass
    return settings


def _jobs(jobs):
    if isinstance(jobs, bool) or not isinstance(jobs, int):
        raise TypeError(f"jobs must be an int; found {type(jobs).__name__} {jobs!r}")
    if jobs == 0:
        raise ValueError("jobs must be 1 or more, or -1 for all cores; found 0")
    return jobs


def _name(function):
    return getattr(function, "__qualname__", type(function).__qualname__)


def _identity(function):
    """Module, name and source of a function that holds no values which its source does not show."""
    try:
        if inspect.isfunction(function) and not function.__closure__ and function.__name__ != "<lambda>":
            return [function.__module__, _name(function), inspect.getsource(function)]
        what = "it is no function of that kind"
    except OSError as error:                                        # typed at a prompt
        what = str(error)
    raise TypeError("function must be written by def, without a closure, where results are kept: its source is their "
                    f"key; found {function!r} ({what})")


def _key(identity, setting):
    """Digest of what a function is and of the setting."""
    text = json.dumps([identity, setting], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _load(path):
    """The result in a file, or _NOTHING where there is none or it cannot be read."""
    try:
        return pickle.loads(path.read_bytes())
    except Exception:                                               # damaged bytes raise what they like
        return _NOTHING


def _keep(path, kept):
    """Write bytes whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
        part.write(kept)
    os.replace(part.name, path)
