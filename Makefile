# Everything happens in .venv, from nothing but Python 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Used only where the CPU build of torch is not found by pip's own configuration.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: setup demo test test-slow lint bench readme reproduce-cleaning clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt torch || \
	    $(BIN)/pip install -q -c constraints.txt --extra-index-url $(TORCH_INDEX) torch
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

# The main job on embedded data: 1,797 scanned digits, 2 % of the labels flipped at seed 0.
demo: setup
	$(BIN)/swaypoint audit sklearn:digits --flip 0.02 --seed 0 --out demo-audit

# The picture in the README, from the demo's report (needs a chromium).
readme: demo
	chromium --headless --no-sandbox --hide-scrollbars --window-size=1200,1500 \
	    --screenshot=docs/report.png file://$(CURDIR)/demo-audit/report.html

test: setup
	$(BIN)/pytest -m "not slow"

test-slow: setup
	$(BIN)/pytest -m slow

bench: setup
	$(BIN)/python -m benchmarks

# The human step with a reviewer who is always right: 2 % of the digits' labels flipped, the first 5 % of the
# ranking inspected, the verdicts exported, models retrained on both training sets. A quarter of an hour.
reproduce-cleaning: setup
	rm -rf cleaning
	mkdir cleaning
	$(BIN)/swaypoint audit sklearn:digits --flip 0.02 --seed 0 --out cleaning/audit
	$(BIN)/swaypoint simulate cleaning/audit --inspect 0.05 --curve 0,0.05 --seeds 5
	$(BIN)/swaypoint export cleaning/audit --to parquet --policy relabel --out cleaning/cleaned.parquet
	$(BIN)/swaypoint compare cleaning/audit --seeds 5

lint: setup
	$(BIN)/lint-imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV)
