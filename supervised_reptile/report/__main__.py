"""The command line: python -m supervised_reptile.report FOLDER."""

import argparse
import pathlib
import signal
import sys
from collections.abc import Callable

from supervised_reptile.report import document, figures, keeping
from supervised_reptile.report.reading import Run, read_runs
from supervised_reptile.report.say import say
from supervised_reptile.system import output, requirements
from supervised_reptile.system.errors import FailedError, RefusedError, explain
from supervised_reptile.system.files import write_atomically, write_through

REPORT = "report.md"
EXPERIMENTS = pathlib.Path("experiments/results")


def parser() -> argparse.ArgumentParser:
    """The flags; each names something to write, and without any the tables are printed."""
    parser = argparse.ArgumentParser(
        prog="python -m supervised_reptile.report",
        description="Shows what runs gave, beside what the paper reports.",
    )
    parser.add_argument(
        "folder",
        nargs="?",
        type=pathlib.Path,
        default=EXPERIMENTS,
        help=f"folder with the folders of runs (default: {EXPERIMENTS})",
    )
    for name, meaning in {
        "--output": f"write {REPORT} and the figures to this folder",
        "--readme": "make the results between the marks of this README anew",
        "--collect": "write what the report needs of each finished run to this folder",
        "--models": "copy the model of each finished run to this folder",
    }.items():
        parser.add_argument(name, type=pathlib.Path, help=meaning)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command line. Returns the exit status: 0, 2 for what was refused, 1 for a failure."""
    requirements.open_streams()
    return _run(parser().parse_args(argv))


def _run(given: argparse.Namespace) -> int:
    try:
        runs = read_runs(given.folder)
        if not runs:
            say(f"{given.folder} holds no runs: a run is a folder with a run.json")
        whole = _write(given, runs)
    except KeyboardInterrupt:
        say("stopped by SIGINT")
        return 128 + signal.SIGINT
    except RefusedError as refusal:
        say(f"error: {refusal}")
        return 2
    except FailedError as failure:
        say(f"failed: {failure}")
        return 1
    except OSError as failure:
        say(f"failed: {explain(failure)}")
        return 1
    return 0 if whole else 1


def _write(given: argparse.Namespace, runs: list[Run]) -> bool:
    """Write what was asked for. Returns whether it is all there."""
    if given.readme and not runs:
        raise RefusedError(f"--readme {given.readme} would lose its results: name another folder")
    whole = True
    for keep, target in ((keeping.collect, given.collect), (keeping.keep_model, given.models)):
        if target:
            whole &= _keep(keep, runs, target)
    if given.readme:
        write_through(given.readme, document.replaced(given.readme, runs))
    if given.output:
        given.output.mkdir(parents=True, exist_ok=True)
        write_atomically(given.output / REPORT, document.write(runs, _draw(runs, given.output)))
        output.say(str(given.output / REPORT))
    if not (given.collect or given.models or given.readme or given.output):
        output.say(document.write(runs, []), end="")
    return whole


def _draw(runs: list[Run], folder: pathlib.Path) -> list[str]:
    if figures.available():
        return figures.draw(runs, folder)
    say("no figures: matplotlib is missing; pip install 'supervised-reptile[report]' brings it")
    return []


def _keep(keep: Callable[[Run, pathlib.Path], None], runs: list[Run], target: pathlib.Path) -> bool:
    """Keep the finished runs. Returns whether that worked for all of them."""
    whole = True
    for run in runs:
        if not run.total:
            say(f"{run.name} was not trained (0 meta-iterations): it is left out")
        elif not run.finished:
            say(f"{run.name} is not finished ({run.done:,} of {run.total:,}): it is left out")
        else:
            whole &= _keep_one(keep, run, target / run.name)
    return whole


def _keep_one(keep: Callable[[Run, pathlib.Path], None], run: Run, target: pathlib.Path) -> bool:
    try:
        keep(run, target)
    except FailedError as failure:
        say(f"failed: {failure}: {run.name} is left out")
    except OSError as failure:
        say(f"failed: {explain(failure)}: {run.name} is left out")
    else:
        output.say(str(target))
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
