#!/bin/sh
# Fetch Omniglot and miniImageNet into data/; `./fetch_data.sh --help` says more.
CDPATH='' cd -- "$(dirname -- "$0")" || exit 1
python=.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" -m supervised_reptile.fetch "$@"
