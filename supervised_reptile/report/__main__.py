"""The command line: python -m supervised_reptile.report FOLDER."""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from supervised_reptile.system import requirements

if __name__ == "__main__":  # before imports that fail in another Python
    requirements.check("python -m supervised_reptile.report")

from supervised_reptile.report import document, figures, keeping
from supervised_reptile.report.reading import Run, read_runs, warn
from supervised_reptile.system import output
from supervised_reptile.system.errors import FailedError, RefusedError, explain
from supervised_reptile.system.files import write_atomically

REPORT = "report.md"


def parser() -> argparse.ArgumentParser:
    """The flags; each names something to write, and without any the tables are printed."""
    parser = argparse.ArgumentParser(
        prog="python -m supervised_reptile.report",
        description="Shows the results of runs and how they compare with the paper's.",
    )
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        type=Path,
        help="a run's folder (its --checkpoint), or one of several, or of collected results",
    )
    for name, meaning in {
        "--output": f"write {REPORT} and the figures to this folder",
        "--readme": "make the results between the marks of this README anew",
        "--collect": "write the results of each finished run to files in this folder",
        "--models": "copy the model of each finished run to this folder",
    }.items():
        parser.add_argument(name, type=Path, help=meaning)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command line. Returns the exit status: 0, 2 for what was refused, 1 for a failure."""
    given = parser().parse_args(argv)
    try:
        return 0 if _run(given) else 1
    except KeyboardInterrupt:
        warn("stopped by SIGINT")
        return 128 + signal.SIGINT
    except RefusedError as refusal:
        warn(f"error: {refusal}")
        return 2
    except (FailedError, OSError) as failure:
        warn(f"failed: {explain(failure)}")
        return 1


def _run(given: argparse.Namespace) -> bool:
    """Do what a command line asks for. Returns whether all that was to be kept could be."""
    if not (runs := read_runs(given.folder)):
        warn(f"{given.folder} holds no runs: a run is a folder with a run.json")
    if given.collect and given.collect.resolve() == given.folder.resolve():
        raise RefusedError(f"--collect {given.collect} is the folder that is read: name another")
    kept = [_keep(keeping.collect, runs, given.collect)] if given.collect else []
    kept += [_keep(keeping.keep_model, runs, given.models)] if given.models else []
    if given.readme:
        write_atomically(given.readme, document.replaced(given.readme, runs))
    if given.output:
        given.output.mkdir(parents=True, exist_ok=True)
        drawn = figures.draw(runs, given.output)
        write_atomically(given.output / REPORT, document.write(runs, drawn))
        output.say(str(given.output / REPORT))
    if not (kept or given.readme or given.output):
        output.say(document.write(runs, []), end="")
    return all(kept)


def _keep(keep: Callable[[Run, Path], Path], runs: list[Run], target: Path) -> bool:
    """Keep the finished runs. Returns whether that worked for all of them."""
    whole = True
    for run in runs:
        done = f"known: {run.done:,} of {run.total:,} meta-iterations"
        if not run.total or not run.finished:
            warn(f"{run.name} is no finished and evaluated training run ({done}): it is left out")
            continue
        try:
            output.say(f"{run.name}: {keep(run, target)}")
        except (FailedError, OSError) as failure:
            warn(f"failed: {explain(failure)}: {run.name} is left out")
            whole = False
    return whole


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # main answers it
    sys.exit(main())
