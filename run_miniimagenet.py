#!/usr/bin/env python3
"""Few-shot classification on miniImageNet: train with Reptile or FOML, or evaluate a model."""

from supervised_reptile.data.miniimagenet import MINIIMAGENET
from supervised_reptile.main import main

if __name__ == "__main__":
    main(MINIIMAGENET)
