# make run    set up and train CoCorrRec for 8 epochs on ml-100k, which ships inside the recbole package
# make test   set up and run the tests, two files at a time (JOBS=1 for one)
# make test-recbole   every model of RecBole's, trained and evaluated
# make lint   ruff
# make results  the tables of docs/results.md and the README from the records in results/records
# make docs   the documentation as a site, in docs/_build/html; a warning is an error
# make tutorial  the notebook of the documentation, run anew
# make proto  the Python code of the service's .proto file, which is checked in
# make native  the native runtime of a device, built again (setup builds it where a C compiler is)
# make wasm   the same library for the page and for web/js, which is checked in (needs clang and lld)
# make demo   the trained model in a browser, on http://127.0.0.1:8000 (needs npm the first time)
# make time   the protocol by time on ml-100k: three cuts, a results folder each (hours on two processors)
# make gpu    on a machine with CUDA: the tests of the GPU, the layers, an epoch and an evaluation of three models
# make bench  timings side by side with stock RecBole and torch's layers (an hour or more);
#             DATASET=amazon-beauty DATA_PATH=DIR for other data than ml-100k

PYTHON ?= python3
VENV   ?= .venv
# The newest set that was tried; constraints-oldest.txt is the oldest. Name another VENV with another file.
CONSTRAINTS ?= constraints.txt
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS)

.PHONY: run demo docs tutorial results test test-recbole lint bench gpu time proto native wasm setup clean

run: $(STAMP)
	$(BIN)/python run_recbole_cocorr.py --model=CoCorrRec --dataset=ml-100k --epochs=8

demo: $(STAMP)
	$(BIN)/python -m recbole_cocorr demo

test: $(STAMP)
	$(BIN)/python -m pytest -n $(or $(JOBS),2) --dist loadfile --no-loadscope-reorder

test-recbole: $(STAMP)
	$(BIN)/python -m pytest -m every_model tests/test_recbole_models.py

results: $(STAMP)
	$(BIN)/python docs/fill_tables.py

docs: $(STAMP)
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build/html
	@echo docs/_build/html/index.html

tutorial: $(STAMP)
	$(BIN)/python docs/run_tutorial.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

DATA := --dataset=$(or $(DATASET),ml-100k) $(if $(DATA_PATH),--data_path=$(DATA_PATH))

bench: $(STAMP)
	$(BIN)/python benchmarks/against_stock_recbole.py $(DATA) --models GRU4Rec SASRec --batches 60
	$(BIN)/python benchmarks/against_stock_recbole.py $(DATA) --models BERT4Rec --batches 6
	$(BIN)/python benchmarks/against_stock_recbole.py $(DATA) --models GRU4Rec SASRec BERT4Rec --protocols full --batches 3
	$(BIN)/python benchmarks/against_stock_recbole.py $(DATA) --cocorrrec
	$(BIN)/python benchmarks/against_stock_recbole.py $(DATA) --every_position --models SASRec GRU4Rec
	$(BIN)/python benchmarks/step_parts.py $(DATA)
	$(BIN)/python benchmarks/step_parts.py $(DATA) --model GRU4Rec
	$(BIN)/python benchmarks/layers.py --compile
	$(BIN)/python benchmarks/data_side.py
	$(BIN)/python benchmarks/large_catalogue.py
	$(BIN)/python benchmarks/parquet_input.py
	$(BIN)/python benchmarks/sharded_items.py
	$(BIN)/python benchmarks/cloud_service.py --memory 0
	$(BIN)/python benchmarks/http_service.py

gpu: $(STAMP)
	$(BIN)/python -m pytest tests/test_gpu.py
	$(BIN)/python benchmarks/on_gpu.py --compile
	set -e; for model in CoCorrRec GRU4Rec SASRec; do \
	$(BIN)/python -m recbole_cocorr run --model=$$model $(DATA) --epochs=2; done

TIME_FIELD := PopRecent,ItemKNN,EASE,GRU4Rec (time),SASRec (time),CoCorrRec (time)
TIME_SEEDS := 1,2,3

# MODELS=, SEEDS= and SETTINGS=--epochs=2 change the runs.
time: $(STAMP)
	set -e; for cuts in "0.7 0.8" "0.75 0.85" "0.8 0.9"; do set -- $$cuts; \
	$(BIN)/python -m recbole_cocorr benchmark --datasets ml-100k --protocol time --out results/time-$$2 \
		--models "$(or $(MODELS),$(TIME_FIELD))" --seeds "$(or $(SEEDS),$(TIME_SEEDS))" --jobs $(or $(JOBS),2) --threads 1 \
		--valid_from=$$1 --test_from=$$2 --targets_per_user=every --stopping_step=6 $(SETTINGS); done

proto: $(STAMP)
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. recbole_cocorr/service/v1/correction.proto

native: $(STAMP)
	$(BIN)/python setup.py --quiet build_ext --inplace --force

NATIVE := recbole_cocorr/device/native
WASM_SOURCES := $(addprefix $(NATIVE)/,cocorr.c cocorr.h cocorr_wasm.c wasm/blake2b.c wasm/math.h wasm/string.h)
WASM := web/js/cocorr.wasm
# The flags of setup.py, and what every browser of the last years has: SIMD, memory.copy, conversions that do not trap.
WASM_FLAGS := --target=wasm32 -std=gnu99 -O3 -fno-math-errno -fno-trapping-math -fno-signed-zeros -fassociative-math \
	-ffp-contract=fast -msimd128 -mbulk-memory -mnontrapping-fptoint -Wall -Wextra -Werror \
	-nostdlib -isystem $(NATIVE)/wasm -I$(NATIVE) -Wl,--no-entry,--strip-all,-z,stack-size=65536,--stack-first

# Which sources it was built of stands beside it; `sha256sum -c web/js/cocorr.wasm.sha256` compares.
wasm:
	clang $(WASM_FLAGS) -o $(WASM) $(filter %.c,$(WASM_SOURCES))
	chmod -x $(WASM)
	{ clang --version | sed -n '1s/^/# /p'; sha256sum $(WASM_SOURCES) $(WASM); } > $(WASM).sha256

setup: $(STAMP)

# RecBole comes last and alone: it asks for a ray of 2023, which is not needed (docs/install.md).
$(STAMP): setup.py setup.cfg pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.13 ...") if not (3, 10) <= sys.version_info[:2] else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) -e '.[train,export,cloud,report,test,docs,browser,tuning,parquet]'
	$(INSTALL) --no-deps recbole==1.2.1
	touch $(STAMP)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
