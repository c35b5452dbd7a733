#!/usr/bin/env python3
"""Few-shot classification on miniImageNet: train with Reptile or FOML, or evaluate a model."""

from supervised_reptile.system import requirements

if __name__ == "__main__":
    requirements.check("run_miniimagenet.py")
    from supervised_reptile.data.miniimagenet import MINIIMAGENET
    from supervised_reptile.main import main

    main(MINIIMAGENET)
