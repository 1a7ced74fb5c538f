# make demo   a first fine-tune, before and after, in minutes     make test    the test suite
# make bench  speed and memory beside peers (ONLY=name for one)   make check   everything a change must pass
# make browser   a headless Chromium from Debian's packages, for the tests of the report; without one they are skipped
# make crash  runs of all techniques killed at random moments, finished and compared: docs/reliability.md (some minutes)
# make soak   runs of all techniques back to back in one process for two hours: are memory and file handles flat?
# make planted   faults put into training and rows on purpose: is each one told? (minutes)
# make evidence  the techniques' claims on real rows: docs/evidence.md (ONLY=name for one; some hours on one core, resumable)
# make fuzz  hostile input to every reader, by a coverage-guided fuzzer (RUNS=a number, ONLY=name for one; an hour on one core)
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := demo
.PHONY: demo test browser bench evidence crash planted soak fuzz check clean

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	# torch first and pinned: a later, unpinned install would bring gigabytes of CUDA libraries to a CPU machine
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,check,qlora,speech,tensorboard]'
	touch $@

demo: .venv/.installed
	$(BIN)/tenfold run recipes/demo.yaml

test: .venv/.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

browser:
	command -v chromium-headless-shell || command -v chromium || command -v google-chrome || \
	  (apt-get -o Acquire::Retries=3 update --quiet=2 && DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 \
	  install --quiet=2 --yes --no-install-recommends chromium-headless-shell)

bench: .venv/.installed
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

evidence: .venv/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[evidence]'
	$(BIN)/python -m evidence.measure $(if $(ONLY),--only $(ONLY))

crash: .venv/.installed
	$(BIN)/python -m reliability crash

planted: .venv/.installed
	$(BIN)/python -m reliability planted

soak: .venv/.installed
	$(BIN)/python -m reliability soak --hours 2

fuzz: .venv/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	$(BIN)/python -m fuzz $(if $(ONLY),--only $(ONLY)) $(if $(RUNS),--runs $(RUNS))

check: .venv/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

clean:
	rm -rf .venv runs build *.egg-info
