# The two commands for a reader of the README: `make demo` and `make test`.  Each sets up all it needs.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
LAB := $(PY) -m fixtures.lab
# Two processes: much of a test is waiting for a guest.  By files, since those of one share booted devices; in
# their order, as the lab's, which come first, take longest.
TEST := $(PY) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Some machines forbid compiled modules by this.  Then each start of the program compiles what it imports, which
# takes longer than what it does.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-long matrix check check-oldest check-newest check-packages coverage generated packages lab field bench clean venv

help:
	@echo "make demo       boot a kernel in QEMU and pull its headers"
	@echo "make test       every test: unit, wire and booted kernels"
	@echo "make test-long  the same, with ten times the generated cases, and twenty minutes of races"
	@echo "make check      formatting, lint, types, and the tests that need no QEMU"
	@echo "make packages   what the tests of make check compare with: clang, shells, libbpf"
	@echo "make check-oldest, check-newest   those tests with the oldest and the newest dependencies"
	@echo "make check-packages   build wheel and sdist, and try them"
	@echo "make coverage   the tests of make check, counting which lines and branches they run"
	@echo "make generated  write anew what is generated from the program: help's golden files, docs/cli.md, docs/api.md, man pages"
	@echo "make lab        build the kernels that must be built from source (about an hour)"
	@echo "make matrix     what is said of every kernel and every archive of the lab"
	@echo "make field      the real kheaders.ko files in KHEADERS_FIELD=DIR: imported, verified, compared with GNU tar"
	@echo "make bench      paired measurements on a booted kernel"
	@echo "make clean      remove what was made here (the lab's cache stays: see fixtures/lab/README.md)"

demo: venv
	@$(LAB) packages --for demo --install
	@$(PY) -m fixtures.demo

test: venv
	@$(LAB) packages --for test --install
	@$(LAB) list
	$(TEST)

test-long: venv
	@$(LAB) packages --for test --install
	KHEADERS_LONG=1 $(TEST) --timeout 7200

check: venv
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m pytest --numprocesses 4 --dist loadgroup -m "not campaign" tests/wire tests/unit

# The oldest dependencies that pyproject.toml allows, and the newest; each in an environment of its own.
check-oldest: venv
	rm -rf .venv-oldest
	$(PYTHON) -m venv .venv-oldest
	$(PY) -m fixtures.oldest >.venv-oldest/constraints.txt
	.venv-oldest/bin/pip install --quiet --disable-pip-version-check \
	  --constraint .venv-oldest/constraints.txt --editable '.[dev]'
	.venv-oldest/bin/python -m pytest --numprocesses 4 --dist loadgroup -m "not campaign" tests/wire tests/unit

check-newest:
	rm -rf .venv-newest
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager \
	  --editable '.[dev]'
	.venv-newest/bin/python -m pytest --numprocesses 4 --dist loadgroup -m "not campaign" tests/wire tests/unit

# What users install: built (the wheel from the sdist), compared with the checkout, then installed into an
# environment that holds nothing else, and run.
check-packages:
	rm -rf .venv-build .venv-packages dist
	$(PYTHON) -m venv .venv-build
	.venv-build/bin/pip install --quiet --disable-pip-version-check build==1.6.1
	.venv-build/bin/python -m build --outdir dist .
	$(PYTHON) -m fixtures.packages
	$(PYTHON) -m venv .venv-packages
	.venv-packages/bin/pip install --quiet --disable-pip-version-check dist/*.whl
	cd .venv-packages && bin/kheaders-adb --version && bin/python -I -c "import kheaders_adb.device.script as s, \
	  kheaders_adb.ebpf.flags as f; assert list(s.FOLDER.glob('*.sh')) and list(f.SHIMS.glob('*.h'))"

# Without the test whose process may use two seconds of the processor: counting lines uses them up.
coverage: venv
	rm -f .coverage .coverage.*
	$(PY) -m coverage run -m pytest --numprocesses 4 --dist loadgroup -m "not campaign" tests/wire tests/unit
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage report

# What is generated from the program: read the difference as a user would.
generated: venv
	$(PY) -m fixtures.reference

# What the tests without QEMU compare with: clang, shells, libbpf's headers.  Where CI is set, none may lack.
packages: venv
	@$(LAB) packages --for compile --for checks --install

# What is said of every kernel and every archive of the lab: the table in docs/matching.md.
matrix: venv
	@$(LAB) packages --for test --install
	@$(PY) -m tests.lab.matrix

lab: venv
	@$(LAB) packages --for kernels --install
	$(LAB) build --all

# Real modules are not ours to hand on, so whoever has some names their folder: make field KHEADERS_FIELD=DIR
field: venv
	$(PY) -m pytest tests/field

bench: venv
	@$(LAB) packages --for test --install
	$(PY) -m tests.bench

clean:
	rm -rf $(VENV) .venv-* build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

venv: $(READY)

# python3-venv is a package of its own on Debian and the only thing needed to begin.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  command -v apt-get >/dev/null || \
	    { echo "$(PYTHON) has no venv module; install it (Debian: python3-venv)" >&2; exit 1; }; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -q && $$sudo apt-get install -qy --no-install-recommends python3-venv; }
	@echo "$(VENV): installing this project and what its tests need (a minute on a new machine) ..."
	@began=$$(date +%s); $(PYTHON) -m venv $(VENV) && \
	  $(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]' && \
	  echo "$(VENV): done, $$(($$(date +%s) - began)) s"
	@touch $@
