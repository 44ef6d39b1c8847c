# Every target creates .venv when it is missing. Interrupting and repeating a target is harmless.

# The first Python of this machine that is 3.11 or 3.12; `make PYTHON=...` names another.
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$p && break; done)
PY := .venv/bin/python
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help reproduce test lint lab records notebooks scoreboard

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

reproduce: $(INSTALLED)  ## train small models on the embedded scenes, write reports/index.html
	$(PY) -m segrepro.batch reproduce --parameters notebooks/quick.yaml --output reports

# As when the notebooks were stored: one thread, so that digits do not depend on the machine, and no progress bars.
test: lint  ## ruff, pytest, and nbval over every notebook
	OMP_NUM_THREADS=1 SEGREPRO_PROGRESS=0 $(PY) -m pytest
	OMP_NUM_THREADS=1 SEGREPRO_PROGRESS=0 $(PY) -m pytest --nbval --nbval-current-env --nbval-cell-timeout 120 notebooks

lint: $(INSTALLED)  ## ruff over code and notebooks
	$(PY) -m ruff check

lab: $(INSTALLED)  ## open JupyterLab on the notebooks
	$(PY) -m jupyterlab notebooks

records: $(INSTALLED)  ## train what data/results is to hold; stop and repeat at will, it resumes
	$(PY) -m segrepro.records --jobs 2 $(ARGS)

notebooks: $(INSTALLED)  ## run every notebook from top to bottom and store its outputs
	$(PY) -m segrepro.batch store

scoreboard: $(INSTALLED)  ## write the verdicts of the committed records into README.md
	$(PY) -m segrepro.report

# torch and torchvision come first and with what they need: on Linux with a GPU that is CUDA's libraries, which no lock for all
# machines can name. Everything else is exactly the lock. The stamp is written last, so an interrupted set-up is continued.
$(INSTALLED): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "segrepro needs Python 3.11 or 3.12 with venv: install one, or say make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Setting up .venv with $(PYTHON): once, a few minutes"
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --constraint requirements.lock torch torchvision
	$(PY) -m pip install --quiet --no-deps --requirement requirements.lock
	$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
