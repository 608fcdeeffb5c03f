"""The tree itself: pins, floors, docstrings, colours, vendored files, and the words of the README."""
import ast
import hashlib
import inspect
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
import tsframe
import yaml
from conftest import PAGES, ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PINS = [Requirement(line) for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDS = [Requirement(r) for r in sum(PROJECT["optional-dependencies"].values(), PROJECT["dependencies"])]
MODULES = {".".join(f.relative_to(ROOT / "tsframe").with_suffix("").parts).removesuffix(".__init__"): f
           for f in (ROOT / "tsframe").rglob("*.py")}
FLOORS = {"_checks": 0, "_products": 0, "_ink": 0, "hierarchy": 1, "sweeps": 1, "teacher": 2, "batchnorm": 2, "ladder": 3, "student": 3,
          "dense": 3, "draws": 3.1, "expansion": 4, "convexity": 4, "factors": 4, "relu_teacher": 4, "gaussian": 4,
          "training": 5, "curvature": 5, "ensembles": 5.1, "correspondence": 5,
          "certificates.registry": 6, "certificates.witness": 6, "certificates.examples": 6, "certificates.setting": 6.1,
          "certificates.batchnorm": 6.1, "certificates.nonlinearity": 6.1, "certificates.disentanglement": 6.1,
          "certificates.overfitting": 6.1, "certificates.noise": 6.1, "certificates.relu_teachers": 6.1,
          "certificates.winners": 6.1, "certificates.specialization": 6.1, "certificates.deep": 6.1,
          "certificates": 6.2, "plots": 7, "explorers._base": 7.5, "explorers._drawn": 7.5, "explorers": 8, "__init__": 9}


def imports(file):
    """(level, module, name) of every import of a file, those inside functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, a.name, None) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.level, node.module or "", a.name) for a in node.names)


# ---- the environment

def test_every_direct_dependency_is_pinned():
    assert all(re.fullmatch(r"==[^*,]+", str(r.specifier)) for r in PINS), [str(r) for r in PINS]
    pins = {r.name: str(r.specifier) for r in PINS}
    assert pins["torch"] == "==2.13.0" and pins["jupyter-book"] == "==1.0.4.post1"


def test_the_environment_is_the_pinned_one():
    assert Path(tsframe.__file__).parent == ROOT / "tsframe"
    assert {r.name: version(r.name).split("+")[0] for r in PINS} == {r.name: str(r.specifier)[2:] for r in PINS}


def test_package_ranges_hold_the_pins():
    pins = {canonicalize_name(r.name): str(r.specifier)[2:] for r in PINS}
    for need in NEEDS:
        assert len(need.specifier) == 2, f"{need}: a range has two ends"
        assert need.specifier.contains(pins[canonicalize_name(need.name)]), str(need)


def test_imports_are_declared():
    owner = packages_distributions()
    needs = {canonicalize_name(r.name) for r in NEEDS}
    pinned = {canonicalize_name(r.name) for r in PINS}
    for folder, declared in {"tsframe": needs, "tests": pinned, "benchmarks": pinned}.items():
        for file in (ROOT / folder).rglob("*.py"):
            own = {f.stem for f in [*file.parent.glob("*.py"), *(ROOT / "book/_ext").glob("*.py"), ROOT / "tests/browser.py"]} | {"tsframe"}
            names = {module.split(".")[0] for level, module, _ in imports(file) if level == 0} - own
            missing = {n for n in names - sys.stdlib_module_names
                       if not {canonicalize_name(d) for d in owner.get(n, [])} & declared}
            assert not missing, f"{file.relative_to(ROOT)} imports {missing}"


# ---- the package

@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_strictly_down(module):
    """One floor a module; a file imports from lower floors of the package only."""
    assert module in FLOORS, f"{module} has no floor: add it to FLOORS"
    package = [p for p in ("certificates", "explorers") if module.startswith(p)]
    for level, name, part in imports(MODULES[module]):
        if level == 0 and name.split(".")[0] == "tsframe":
            level, name = 1 + len(package), name.removeprefix("tsframe").removeprefix(".")
        if level:
            place = package[:len(package) - level + 1] + [p for p in name.split(".") if p]
            inner = ".".join([*place, part or ""])
            target = inner if inner in FLOORS else ".".join(place) or "__init__"
            assert FLOORS[target] < FLOORS[module], f"{module} (floor {FLOORS[module]}) imports {target} ({FLOORS[target]})"


def test_every_public_name_is_described():
    silent = []
    for name, thing in vars(tsframe).items():
        if name.startswith("_") or inspect.ismodule(thing):
            continue
        members = {f"{name}.{k}": v for k, v in vars(thing).items() if not k.startswith("_")} if inspect.isclass(thing) else {}
        for label, member in {name: thing, **members}.items():
            member = getattr(member, "__func__", getattr(member, "fget", member))
            if (inspect.isfunction(member) or inspect.isclass(member)) and not inspect.getdoc(member):
                silent.append(label)
    assert not silent


# ---- the book

def test_table_of_contents_and_files_agree():
    files = {f.relative_to(ROOT).with_suffix("").as_posix() for suffix in ("md", "ipynb") for f in (ROOT / "book").rglob(f"*.{suffix}")
             if not {"assets", "_ext", ".ipynb_checkpoints"} & set(f.parts)}
    assert files == set(PAGES)
    assert len(PAGES) == len(set(PAGES))


def test_no_static_folder_at_the_root():
    assert not (ROOT / "_static").exists(), "Jupyter Book would put each of its files on every page"


def test_embedding_style_sheet_and_plots_share_their_colours():
    from tsframe.plots import INK

    import figures

    light = re.search(r"html\[data-theme\]\s*\{(.*?)\}", (ROOT / "book/assets/look.css").read_text(), re.S)[1]
    shown = {colour: role for role, colour in re.findall(r"--(\w+)\s*:\s*(#[0-9a-f]{6})\b", light)}
    assert figures.TOKENS == {colour: role for role, colour in INK.items()} == shown


@pytest.mark.parametrize("folder", ["book/assets", "tests/vendor"])
def test_vendored_files_are_unmodified(folder):
    root, noted = ROOT / folder, {}
    for line in (root / "NOTICE").read_text().splitlines():
        if match := re.fullmatch(r"  ([0-9a-f]{64})  (\S+)", line):
            noted[match[2]] = match[1]
    assert noted == {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in noted}
    vendored = [f for sub in ("mathjax", "fonts", "d3") for f in (root / sub).rglob("*")] or list(root.glob("*"))
    assert {f.relative_to(root).as_posix() for f in vendored if f.is_file() and f.name != "NOTICE"} == noted.keys()


# ---- what a visitor meets

def test_commands_in_the_texts_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"book", "test", "lab", "serve", "clean", "bench", "help"} <= targets
    for name in ("README.md", "CONTRIBUTING.md"):
        said = set(re.findall(r"(?:`|^\s*\$?\s*)make ([a-z]+)", (ROOT / name).read_text(), re.M))
        assert said and said <= targets, f"{name}: {said - targets}"


def test_issue_forms_cannot_be_sent_empty():
    folder = ROOT / ".github/ISSUE_TEMPLATE"
    assert yaml.safe_load((folder / "config.yml").read_text())["blank_issues_enabled"] is False
    forms = [yaml.safe_load(f.read_text()) for f in folder.glob("*.yml") if f.name != "config.yml"]
    assert forms and all(any(field.get("validations", {}).get("required") for field in form["body"]) for form in forms)


def test_continuous_integration_runs_the_tests():
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o111 and re.search(r"^make test$", script.read_text(), re.M)
