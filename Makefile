# make demo      Try the program on generated images.
# make draw      Serve a page on which an included model learns what you draw.
# make test      Run the tests that take about five minutes on two cores.
# make test-all  Run the slow tests as well, and compile with all optimizations.
# make soak      Kill training, fetching and reading of images many times. This takes an hour.
# make lint      Check style and types.
# All of these first install the program into .venv.
PYTHON ?= python3
DEMO = runs/demo
# Two processes run the tests, and each file is one's own: its fixtures are made once.
PYTEST = .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: venv demo draw test test-all soak lint clean

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

draw: venv
	.venv/bin/python run_omniglot.py --pretrained --checkpoint experiments/models/o15 --draw

test: venv
	$(PYTEST)

test-all: venv
	XLA_FLAGS= $(PYTEST) -m 'not soak'

soak: venv
	.venv/bin/python -m pytest -m soak -s

lint: venv
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

clean:
	rm -rf .venv build *.egg-info $(DEMO)
