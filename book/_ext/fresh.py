"""Results are never older than the code that made them.

Notebook results are cached under a key of their code cells alone, so an edit of the package would leave them
standing. The cache therefore gets a folder of its own for every state of the package and its requirements; a new
folder is a new setting for Sphinx, which then reads every chapter again.
"""
import hashlib
import platform
from importlib.util import find_spec
from pathlib import Path

from sphinx.errors import ConfigError


def digest(root):
    """Hash of everything, besides a chapter's own cells, that its results depend on."""
    files = [f for f in sorted((root / "tsframe").rglob("*")) if f.is_file() and "__pycache__" not in f.parts]
    sha = hashlib.sha256(platform.python_version().encode())
    for file in [*files, root / "requirements.txt"]:
        sha.update(f"\0{file.relative_to(root)}\0".encode() + file.read_bytes())
    return sha.hexdigest()[:12]


def key_cache(app, config):
    root, package = Path(app.srcdir).resolve(), Path(find_spec("tsframe").origin).resolve().parent
    if package != root / "tsframe":
        raise ConfigError(f"this environment holds the package of {package}, not of {root}: pip install --no-deps -e .")
    config.nb_execution_cache_path = str(Path(app.outdir).parent / f".jupyter_cache-{digest(root)}")


def setup(app):
    app.connect("config-inited", key_cache)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
