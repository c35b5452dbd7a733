"""The report as one Markdown document, and the part of it that stands in the README."""

import pathlib
import re

from supervised_reptile.report import tables
from supervised_reptile.report.curves import difference
from supervised_reptile.report.figures import DENSITY, GRADIENTS, OVERLAP, WIDTH, densities
from supervised_reptile.report.reading import Run
from supervised_reptile.system.errors import RefusedError

BEGIN, END = "<!-- results -->", "<!-- end of results -->"
MARKED = re.compile(rf"(?<={BEGIN})(\r?\n).*?(?={END})", re.DOTALL)
VERDICT = """\
Accuracies are those on the test set, in percent, with 95 % intervals over tasks: they leave out
how runs differ. The verdict is "inside the replications' range" if the accuracy is in the range of
three or four complete runs that others made with the authors' program; else "inside the paper's
interval widened by ours" if it differs from the paper's by no more than the sum of both intervals;
else it says how far from the replications' range it is. A shortened run has no verdict. Of several
seeds, those with all tasks count, if there are any.
"""


def write(runs: list[Run], figures: list[str]) -> str:
    """The whole report. figures: names of the images that lie beside it, without their endings."""
    parts = [
        "# What the runs gave\n",
        *_section("Tables 1 and 2", VERDICT, tables.paper_table(runs)),
        *_section("Gradients of the inner loop (section 6.2)", tables.combinations_table(runs)),
        *_image(GRADIENTS, figures),
        *_density(runs),
        *_image(DENSITY, figures),
        *_section("Overlap of mini-batches (section 6.3)", tables.overlap_table(runs)),
        *_image(OVERLAP, figures),
        *_section("Other runs", tables.others_table(runs)),
        *_section("Unfinished runs", tables.unfinished_table(runs)),
    ]
    curves = [name for name in figures if name not in (GRADIENTS, DENSITY, OVERLAP)]
    if curves:
        parts += [
            "## Learning curves\n",
            *(part for name in curves for part in _image(name, curves)),
        ]
    if not runs:
        parts.insert(1, "There are no runs in this folder.\n")
    return "\n".join(parts)


def _section(title: str, *texts: str) -> list[str]:
    return [f"## {title}\n", *texts] if texts[-1] else []


def _image(name: str, figures: list[str]) -> list[str]:
    return [f"![{name}]({name}.png)\n"] if name in figures else []


def _density(runs: list[Run]) -> list[str]:
    """How far the curves of a setting and seed are apart that were evaluated more or less often."""
    lines = []
    for label, sparse, dense in densities(runs):
        assert sparse.curve and dense.curve
        largest, common, apart = difference(sparse.curve, dense.curve, WIDTH * sparse.total)
        lines.append(
            f"{label}: the smoothed test curves of {_points(sparse)} and {_points(dense)} differ "
            f"by at most {100 * largest:.2f} points. Of {common:,} meta-iterations that both "
            f"evaluated, {apart:,} have another accuracy.\n"
        )
    return lines


def _points(run: Run) -> str:
    return f"`{run.name}` ({len(run.curve.iterations) if run.curve else 0:,} evaluations)"


def section(runs: list[Run]) -> str:
    """What stands between the marks of the README."""
    return f"\n{tables.short_table(runs)}\n"


def replaced(readme: pathlib.Path, runs: list[Run]) -> str:
    """The text of a README with the results between its marks made anew.

    Raises RefusedError if it cannot be read or lacks the marks.
    """
    try:
        text = readme.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(f"--readme {readme} cannot be read ({error}): name a README") from None
    if not MARKED.search(text):
        raise RefusedError(
            f"--readme {readme} has no place for the results: put the lines {BEGIN} and {END} "
            "where they should stand"
        )

    def made_anew(found: re.Match[str]) -> str:
        return ("\n" + section(runs)).replace("\n", found[1])

    return MARKED.sub(made_anew, text, count=1)
