# make demo    stylize a real clip with a checkpoint that ships
# make test    the tests
# make lint    ruff and pyright
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint clean

demo: $(VENV)/installed
	$(BIN)/python -m fastnst.demo

test: $(VENV)/installed
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# torch comes first and by itself, so that every later package is chosen to fit it. opencv-python needs the libraries of
# a desktop; where they are missing its headless twin takes its place.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "torch>=2.10" "torchvision>=0.25"
	$(BIN)/pip install --quiet --editable ".[vgg,demo,sample,dev]"
	$(BIN)/python -c "import cv2" 2>/dev/null || { $(BIN)/pip uninstall --quiet --yes opencv-python \
		&& $(BIN)/pip install --quiet opencv-python-headless; }
	touch $@

clean:
	rm -rf $(VENV) demo
