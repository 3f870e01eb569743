# make run    set up and train CoCorrRec for 8 epochs on ml-100k, which ships inside the recbole package
# make test   set up and run the tests, two files at a time (JOBS=1 for one)
# make lint   ruff
# make proto  the Python code of the service's .proto file, which is checked in
# make native  the native runtime of a device, built again (setup builds it where a C compiler is)
# make demo   the trained model in a browser, on http://127.0.0.1:8000 (needs npm the first time)
# make bench  timings side by side with stock RecBole and torch's layers (an hour or more);
#             DATASET=amazon-beauty DATA_PATH=DIR for other data than ml-100k

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: run demo test lint bench proto native setup clean

run: $(STAMP)
	$(BIN)/python run_recbole_cocorr.py --model=CoCorrRec --dataset=ml-100k --epochs=8

demo: $(STAMP)
	$(BIN)/python -m recbole_cocorr demo

test: $(STAMP)
	$(BIN)/python -m pytest -n $(or $(JOBS),2) --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

DATA := --dataset=$(or $(DATASET),ml-100k) $(if $(DATA_PATH),--data_path=$(DATA_PATH))

bench: $(STAMP)
	$(BIN)/python benchmarks/against_stock_recbole.py $(DATA) --models GRU4Rec SASRec --batches 60
	$(BIN)/python benchmarks/against_stock_recbole.py $(DATA) --models BERT4Rec --batches 6
	$(BIN)/python benchmarks/against_stock_recbole.py $(DATA) --models GRU4Rec SASRec BERT4Rec --protocols full --batches 3
	$(BIN)/python benchmarks/against_stock_recbole.py $(DATA) --cocorrrec
	$(BIN)/python benchmarks/step_parts.py $(DATA)
	$(BIN)/python benchmarks/layers.py --compile
	$(BIN)/python benchmarks/data_side.py
	$(BIN)/python benchmarks/large_catalogue.py

proto: $(STAMP)
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. recbole_cocorr/service/v1/correction.proto

native: $(STAMP)
	$(BIN)/python setup.py --quiet build_ext --inplace --force

setup: $(STAMP)

$(STAMP): setup.py setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or 3.11 is needed (numpy < 2 and ray 2.6 have no newer wheels); this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 ...") if not (3, 10) <= sys.version_info[:2] <= (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,export,cloud,report,test,browser,tuning,parquet]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
