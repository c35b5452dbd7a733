#!/usr/bin/env python3
"""Few-shot classification on Omniglot: train with Reptile or FOML, or evaluate a model."""

from supervised_reptile.data.omniglot import OMNIGLOT
from supervised_reptile.main import main

if __name__ == "__main__":
    main(OMNIGLOT)
