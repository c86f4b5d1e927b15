# make demo    stylize a real clip with a checkpoint that ships
# make test    the tests
# make lint    ruff and pyright
# make docs    the site, into site/
# make lock    requirements.lock: the versions that .venv has, which `make test` tests, and the hash of every file
# make audit   known holes in what requirements.lock names
# make oldest  imports, doctests and some tests with the oldest versions that pyproject.toml allows
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := $(VENV)/tools/bin
OLDEST := $(VENV)/oldest

.PHONY: demo test lint docs lock audit oldest clean

demo: $(VENV)/installed
	$(BIN)/python -m fastnst.demo

test: $(VENV)/installed
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lock: $(VENV)/installed $(TOOLS)/uv
	$(BIN)/pip freeze --exclude-editable > $(VENV)/versions.txt
	$(TOOLS)/uv pip compile --quiet --universal --python-version 3.11.5 --all-extras --generate-hashes --no-annotate \
		--custom-compile-command "make lock" --constraint $(VENV)/versions.txt --output-file requirements.lock pyproject.toml

audit: $(TOOLS)/uv
	$(TOOLS)/pip-audit --strict --disable-pip --require-hashes --requirement requirements.lock

oldest: $(TOOLS)/uv
	$(TOOLS)/uv venv --quiet --clear --python $(PYTHON) $(OLDEST)
	$(TOOLS)/uv pip install --quiet --python $(OLDEST) --resolution lowest-direct --editable ".[vgg,vgg19,demo,live,sample,dev]"
	$(OLDEST)/bin/python -m pytest fastnst tests/test_checkpoint.py tests/training/test_dashboard.py tests/test_images.py \
		tests/test_stylizer.py tests/test_train.py::test_6_and_2_steps_equal_8_bit_for_bit

$(TOOLS)/uv:
	$(PYTHON) -m venv $(VENV)/tools
	$(TOOLS)/pip install --quiet uv pip-audit

# torch comes first and by itself, so that every later package is chosen to fit it. opencv-python needs the libraries of
# a desktop; where they are missing its headless twin takes its place.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "torch>=2.10" "torchvision>=0.25"
	$(BIN)/pip install --quiet --editable ".[vgg,vgg19,demo,sample,openvino,onnxruntime,report,docs,dev]"
	$(BIN)/python -c "import cv2" 2>/dev/null || { $(BIN)/pip uninstall --quiet --yes opencv-python \
		&& $(BIN)/pip install --quiet opencv-python-headless; }
	touch $@

clean:
	rm -rf $(VENV) demo site
