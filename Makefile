# make demo | test | check | bench | clean: each makes its environment first where it is missing or out of date.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile
DEMO := runs/demo
CODE := $(wildcard src tests examples pretraining benchmarks)

BARE := env -u HOME -u XDG_CACHE_HOME LC_ALL=C PYTHONUTF8=0 PYTHONIOENCODING=ascii PYTHONDONTWRITEBYTECODE=1

.PHONY: demo test test-hostile check bench clean help-texts

demo: $(STAMP)
	@test -d $(DEMO)/photos/duck || $(BIN)/dreambooth toybox photos --class-noun duck --seed 7 --count 4 --out $(DEMO)/photos/duck
	$(BIN)/dreambooth run $(DEMO)/photos/duck --class-noun duck --output-dir $(DEMO)/duck

test: $(STAMP)
	$(PYTEST)

test-hostile: $(STAMP)  # Linux: no letters but ASCII, a user without a name or home, this folder read-only
	for home in "" HOME=/nowhere; do unshare --map-root-user --mount sh -c 'mount --bind . . && \
		mount -o remount,ro,bind "$$PWD" && cd "$$PWD" && exec unshare --map-user=12345 "$$@"' - \
		$(BARE) $$home $(PYTEST) -p no:cacheprovider || exit; done

check: $(STAMP)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy $(CODE)

bench: export OMP_NUM_THREADS = 1
bench: $(STAMP)  # for hours; SCRIPT=train_dreambooth.py, diffusers' own, is compared with too
	$(BIN)/python -m benchmarks.growth --results build/growth.json
	$(if $(SCRIPT),$(BIN)/python -m benchmarks.step --script $(SCRIPT) --out build/step.json)
	$(if $(SCRIPT),$(BIN)/python -m benchmarks.class_images --script $(SCRIPT) --out build/class_images.json)
	$(if $(SCRIPT),$(BIN)/python -m benchmarks.time_to_fidelity --script $(SCRIPT) --results build/fidelity.json)
	$(BIN)/python -m benchmarks.quality --out build/quality --results build/quality.json

help-texts: $(STAMP)  # after a change of the command line: tests/test_house.py compares these
	$(BIN)/python tests/test_house.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bnb,heic,tensorboard,web]'
	@touch $@
