"""`python -m supervised_reptile` says what to run instead."""

import sys

sys.exit(
    "Run ./run_omniglot.py or ./run_miniimagenet.py (--help says how), or these modules: "
    "supervised_reptile.fetch, supervised_reptile.report"
)
