# One environment, .venv, made on first use; `make help` lists the targets from the ## comments.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
SOURCES := cnncc tests examples tools benchmarks
SOURCES := $(wildcard $(SOURCES))

# Two at a time, each file in one process: some tests use several threads, and some ask how long a thing took.
PARALLEL := -n 2 --dist loadfile

# What runs on a machine with a GPU: it has NumPy, and maybe PyTorch.
GPU_PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help demo demo-photos examples web cross-tools test test-all test-cuda test-cluster test-serve test-torch lint type fmt bench bench-timm bench-serve gpu-pack gpu-rehearse gpu-run docs api wheel venv clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1 \2/p' $(firstword $(MAKEFILE_LIST)) | while read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

demo: $(VENV)/.dev ## compile LeNet-5 and classify real handwritten digits
	@$(BIN)/python examples/demo.py

examples: $(VENV)/.cross ## build and run every example, hold each to the reference (the first time fetches zig, 413 MB unpacked)
	@$(BIN)/python examples/run_all.py

web: $(VENV)/.cross ## the page that reads drawn digits, served at http://localhost:8000 (the first time fetches zig too)
	@mkdir -p build/web && cp -r examples/web/. build/web && cp -r examples/digits build/web
	@$(BIN)/cnncc compile models/lenet5.net --target wasm32 -o build/web/lenet5
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/web 8000

cross-tools: ## what the tests of other processors and of the browser need, by apt-get
	apt-get update -qq
	apt-get install --yes --no-install-recommends qemu-user-static chromium nodejs rustc \
	    gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-riscv64-linux-gnu libc6-dev-riscv64-cross

demo-photos: $(VENV)/.dev ## EfficientNet-Lite0 names what is on two photos (fetches 45 MB once)
	@$(BIN)/python examples/demo_photos.py

test: $(VENV)/.dev ## tests, without the slow ones
	$(BIN)/python -m pytest $(PARALLEL) -m 'not slow'

test-all: $(VENV)/.dev ## every test, with new random examples
	HYPOTHESIS_PROFILE=new $(BIN)/python -m pytest $(PARALLEL)

gpu-pack: $(VENV)/.dev ## pack the first run on a GPU into build/gpu/first_run.tar.xz; half an hour the first time
	$(BIN)/python benchmarks/gpu/pack.py build/gpu/first_run.tar.xz $(GPU_PACK)

gpu-rehearse: $(VENV)/.dev ## the first run with small networks on the emulated driver; 2 minutes
	$(BIN)/python benchmarks/gpu/pack.py build/gpu/rehearsal.tar.xz --small
	rm -rf build/gpu/rehearsal
	$(BIN)/python -m tarfile -e build/gpu/rehearsal.tar.xz build/gpu/rehearsal
	$(BIN)/python build/gpu/rehearsal/first_run/gpu/run.py --emulated --out build/gpu/rehearsal

gpu-run: ## on a machine with a GPU and the pack: the first run, 8 minutes; results in build/gpu/result
	rm -rf build/gpu/first_run
	$(GPU_PYTHON) -m tarfile -e build/gpu/first_run.tar.xz build/gpu
	$(GPU_PYTHON) build/gpu/first_run/gpu/run.py --out build/gpu/result

test-cluster: $(VENV)-cluster/.done ## Ray, Dask, Spark and Beam on this machine; an environment of 2 GB
	$(VENV)-cluster/bin/python -m pytest -q --show-capture=no tests/contrib

test-serve: $(VENV)-serve/.done ## FastAPI, Ray Serve and KServe on this machine; an environment of 1.5 GB
	$(VENV)-serve/bin/python -m pytest -q --show-capture=no tests/serving

test-torch: $(VENV)-torch/.done ## modules of PyTorch, 52 networks of timm and torchvision among them; fetches PyTorch (3 GB), about an hour
	$(VENV)-torch/bin/python -m pytest -q --show-capture=no tests/from_torch

test-cuda: $(VENV)/.dev ## all that is proved of GPU code without a GPU, the whole zoo; about half an hour
	$(BIN)/python -m pytest tests/cuda

lint: $(VENV)/.dev ## ruff rules and format, and the import rules
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/python -m pytest -q tests/test_imports.py

type: $(VENV)/.dev ## mypy
	$(BIN)/mypy

fmt: $(VENV)/.dev ## format the sources, mend what ruff can
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench: $(VENV)/.bench ## time the zoo against ONNX Runtime, OpenVINO, MNN and ncnn; about 10 minutes
	@$(BIN)/cnncc bench --zoo --vs onnxruntime,openvino,mnn,ncnn

bench-timm: $(VENV)-torch/.done ## time 52 networks of timm and torchvision too; fetches PyTorch (3 GB), about an hour
	@$(VENV)-torch/bin/python benchmarks/export_timm.py build/timm
	@$(VENV)-torch/bin/python benchmarks/bench_timm.py build/timm $(BENCH_TIMM)

bench-serve: $(VENV)-serve/.done ## serve LeNet-5 and MobileNet in several ways, measure, check every answer; 3 minutes
	@for net in lenet5 models/mobilenet_v1.net; do $(VENV)-serve/bin/python examples/serve/measure.py $$net || exit 1; done

wheel: $(VENV)/.dev ## a wheel to install elsewhere, in dist/
	$(BIN)/python -m build --wheel --outdir dist

docs: $(VENV)/.dev ## run every example of README.md and docs/
	$(BIN)/python -m pytest -q tests/test_docs.py

api: $(VENV)/.dev ## make docs/api.md from the docstrings
	@$(BIN)/python tools/api_page.py

venv: $(VENV)/.dev ## make .venv with all that development needs

clean: ## remove .venv and all that was built
	rm -rf $(VENV) $(VENV)-cluster $(VENV)-serve $(VENV)-torch build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "cnncc needs Python 3.11 or newer; none found (set PYTHON=...)" >&2; exit 1; }
	@echo "making $(VENV), once; this takes a minute or two"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -qq --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[dev]'
	@touch $@

# Apart from .venv: what these packages ask for need not agree with what the peers ask for.
$(VENV)-cluster/.done: pyproject.toml
	@echo "making $(VENV)-cluster, once; this takes some minutes"
	@$(PYTHON) -m venv $(VENV)-cluster
	@$(VENV)-cluster/bin/python -m pip install -qq --disable-pip-version-check --upgrade pip
	@$(VENV)-cluster/bin/python -m pip install -qq --disable-pip-version-check \
	    --editable '.[compiler,ray,dask,spark,beam]' 'pytest>=8.2'
	@touch $@

$(VENV)-serve/.done: pyproject.toml
	@echo "making $(VENV)-serve, once; this takes a minute or two"
	@$(PYTHON) -m venv $(VENV)-serve
	@$(VENV)-serve/bin/python -m pip install -qq --disable-pip-version-check --upgrade pip
	@$(VENV)-serve/bin/python -m pip install -qq --disable-pip-version-check \
	    --editable '.[compiler,serve,serve-ray,kserve]' 'hypothesis>=6.100' 'pytest>=8.2'
	@touch $@

# Apart from .venv too: PyTorch is large, and decides which NumPy there is.
$(VENV)-torch/.done: benchmarks/requirements.txt pyproject.toml
	@echo "making $(VENV)-torch, once; this takes some minutes"
	@$(PYTHON) -m venv $(VENV)-torch
	@$(VENV)-torch/bin/python -m pip install -qq --disable-pip-version-check --upgrade pip
	@$(VENV)-torch/bin/python -m pip install -qq --disable-pip-version-check --editable '.[bench-torch]' \
	    --requirement benchmarks/requirements.txt 'pytest>=8.2'
	@touch $@

$(VENV)/.cross: $(VENV)/.dev
	@echo "installing ziglang, once"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[cross]'
	@touch $@

# --no-deps: pnnx asks for PyTorch (3 GB), which its converter does not need; what the others need is in `dev`.
$(VENV)/.bench: $(VENV)/.dev
	@echo "installing the peers, once"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps $$($(BIN)/python -c "import tomllib; \
	    print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['bench'])")
	@touch $@
