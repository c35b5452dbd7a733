#!/usr/bin/env python3
"""Few-shot classification on Omniglot: train with Reptile or FOML, or evaluate a model."""

from supervised_reptile.system import requirements

if __name__ == "__main__":
    requirements.check("run_omniglot.py")
    from supervised_reptile.data.omniglot import OMNIGLOT
    from supervised_reptile.main import main

    main(OMNIGLOT)
