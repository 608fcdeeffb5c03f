"""The browser of the site tests: Chromium or Chrome, found or, by `python tests/browser.py`, installed."""
import os
import shutil
import subprocess
import sys

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def runs(path):
    """True if this browser starts: a name in PATH may be a stub that only points to another package."""
    with sync_playwright() as p:
        try:
            p.chromium.launch(executable_path=path).close()
        except Exception:
            return False
    return True


def find():
    """Path of a browser that starts: $CHROMIUM, the system's, or playwright's own; else None."""
    with sync_playwright() as p:
        own = p.chromium.executable_path
    places = [os.environ.get("CHROMIUM"), *map(shutil.which, NAMES),
              "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome", own]
    return next((path for path in places if path and os.path.exists(path) and runs(path)), None)


def install():
    """Try the system's package manager (as root), then playwright; return its path, or None with what was tried on stderr."""
    playwright = [sys.executable, "-m", "playwright", "install"]
    ways = [[*playwright, "chromium"]]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        ways.append([*playwright, "--with-deps", "chromium"])
        if shutil.which("apt-get"):
            ways.insert(0, ["apt-get", "install", "-y", "--no-install-recommends", "chromium"])
            subprocess.run(["apt-get", "update"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for way in ways:
        done = subprocess.run(way, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
        found = find()
        if found:
            return found
        print(f"{' '.join(way)}: exit {done.returncode}, no browser that starts\n{done.stdout[-600:]}", file=sys.stderr)
    return None


if __name__ == "__main__":
    browser = find() or install()
    if browser is None:
        sys.exit("The page tests need a browser: no Chromium or Chrome was found and none could be installed (see "
                 "above).\nInstall Chromium with your system's package manager, or set CHROMIUM to the path of one.")
    print(f"Browser of the page tests: {browser}")
