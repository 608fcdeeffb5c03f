# make book: the web book in _build/html.  make test: everything.  Both need Python 3.11 to 3.13 and nothing else.
SHELL := /bin/bash
PY := .venv/bin/python
READY := .venv/ready

# An environment that does not run, or was copied from another folder and holds that folder's package: set it up again.
ifneq ($(CURDIR),$(shell $(PY) -c 'print(open("$(READY)").read())' 2>/dev/null))
$(shell rm -f $(READY))
endif

help:
	@echo "make book    build the web book (_build/html/index.html)"
	@echo "make serve   show it at http://localhost:8000"
	@echo "make lab     open the chapters in JupyterLab"
	@echo "make test    run every test, chapters and pages included"
	@echo "make bench   measure speed"
	@echo "make clean   remove what was built; make distclean: the environment, too"

book: $(READY)
	rm -rf _build/html
	$(PY) .venv/bin/jupyter-book build . -W -n --keep-going
	@echo
	@echo "The book: open file://$(CURDIR)/_build/html/index.html, or run 'make serve'."

test: $(READY)
	$(PY) tests/browser.py
	$(PY) -m pytest

lab: $(READY)
	$(PY) -m jupyterlab book $(if $(filter 0,$(shell id -u)),--allow-root)

serve:
	@test -f _build/html/index.html || $(MAKE) book
	@echo "http://localhost:8000 (stop with Ctrl-C)"
	@$(PY) -m http.server 8000 --bind 127.0.0.1 --directory _build/html

bench: $(READY)
	$(PY) -m pytest benchmarks/bench_expansion.py benchmarks/bench_ensembles.py --benchmark-enable --benchmark-only --benchmark-columns=min,median,rounds
	$(PY) benchmarks/bench_engine.py

clean:
	rm -rf _build .pytest_cache .hypothesis .benchmarks

distclean: clean
	rm -rf .venv *.egg-info

# The first Python that is recent enough and can make environments; a name in PATH need not run (pyenv's shims).
PROBE := import sys, venv, ensurepip; v = sys.version.split()[0]; print(v); sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

$(READY): requirements.txt pyproject.toml
	@$(PY) -c '$(PROBE)' >/dev/null 2>&1 && exit; \
	for p in $(PYTHON) python3 python3.13 python3.12 python3.11 python; do \
	  command -v $$p >/dev/null || continue; \
	  v=$$($$p -c '$(PROBE)' 2>&1) && { found=$$p; break; }; \
	  seen="$$seen\n  $$p: $$(tail -n 1 <<< "$$v")"; \
	done; \
	if [ -z "$$found" ]; then \
	  printf "The book needs Python 3.11, 3.12 or 3.13 with the modules venv and ensurepip. Found:$${seen:- none}\n" >&2; \
	  echo "Install one (Debian and Ubuntu: apt install python3 python3-venv) or name it: make PYTHON=/path/to/python3.12" >&2; \
	  exit 1; \
	fi; \
	echo "New environment .venv with Python $$v ($$found)"; \
	$$found -m venv --clear .venv
	@echo "Installing requirements.txt into .venv; the first time takes a few minutes"
	@$(PY) -m pip install --disable-pip-version-check --quiet -r requirements.txt
	@$(PY) -m pip install --disable-pip-version-check --quiet --no-deps -e .
	@printf %s "$(CURDIR)" > $@

.PHONY: help book test lab serve bench clean distclean
