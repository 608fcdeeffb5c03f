"""The book, built once for all tests that look at it, a server that shows it and a browser that reads it."""
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")   # before torch comes: small tensors, whose threads wait for one another

import shutil
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent


def contents(toc):
    """The pages of a table of contents, in reading order, without their suffixes."""
    chapters = [c for part in toc.get("parts", []) for c in part["chapters"]]
    return [toc["root"], *(c["file"] for c in chapters)]


PAGES = contents(yaml.safe_load((ROOT / "_toc.yml").read_text()))
NOTEBOOKS = sorted(p for p in (ROOT / "book").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)


def build(folder, **env):
    """Build the book of a folder as `make book` does."""
    shutil.rmtree(folder / "_build" / "html", ignore_errors=True)
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", folder, "-W", "-n", "--keep-going"]
    return subprocess.run(command, cwd=folder, env=env or None, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="session")
def built():
    """When the build began, and the share of the wall clock that it had: below 1 where others used the machine too."""
    began, clock, before = datetime.now(UTC).replace(tzinfo=None), time.perf_counter(), os.times()
    done = build(ROOT)
    if done.returncode:
        pytest.fail(f"the book does not build:\n{done.stdout[-8000:]}", pytrace=False)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return began, min(1, used / (time.perf_counter() - clock))


@pytest.fixture(scope="session")
def site(built):
    """Folder of the built pages."""
    return ROOT / "_build" / "html"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def base(site):
    """Where the pages are, by how they are opened: from a server or as files."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {"served": f"http://127.0.0.1:{server.server_port}", "file": site.as_uri()}
    server.shutdown()


@pytest.fixture(scope="session")
def chromium():
    from playwright.sync_api import sync_playwright

    import browser

    path = browser.find()
    if path is None:
        pytest.fail("no browser: run `make test`, or python tests/browser.py", pytrace=False)
    with sync_playwright() as p:
        started = p.chromium.launch(executable_path=path)
        yield started
        started.close()
