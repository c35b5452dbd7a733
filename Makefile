# make demo: try the program on generated images. make test: the tests of five minutes.
# make test-all: all tests but those of make soak.
# make soak: kill training, fetches and readings of images many times (about an hour).
PYTHON ?= python3
DEMO = runs/demo

.PHONY: venv demo test test-all soak lint clean

venv: .venv/ready

# The mark is made last, so that an environment that was cut short is made anew.
.venv/ready: setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || \
	    { echo "make: PYTHON=$(PYTHON) has to be Python 3.10 to 3.13" >&2; exit 2; }
	$(PYTHON) -m venv --clear .venv
	PIP_CONSTRAINT=constraints.txt .venv/bin/python -m pip install --quiet --editable '.[test]'
	touch $@

demo: venv
	rm -rf $(DEMO)
	.venv/bin/python run_omniglot.py --synthetic --checkpoint $(DEMO) \
	    --shots 1 --inner-batch 10 --inner-iters 5 --meta-step 1 --meta-batch 5 --meta-iters 300 \
	    --eval-batch 5 --eval-iters 50 --learning-rate 0.001 --meta-step-final 0 --train-shots 10 \
	    --eval-samples 200
	@echo
	@echo "Chance is 0.2. The curves of this run:"
	@echo "    .venv/bin/tensorboard --logdir $(DEMO)"

test: venv
	.venv/bin/python -m pytest

test-all: venv
	.venv/bin/python -m pytest -m 'not soak'

soak: venv
	.venv/bin/python -m pytest -m soak -s

lint: venv
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

clean:
	rm -rf .venv build *.egg-info $(DEMO)
