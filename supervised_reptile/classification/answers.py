"""The answers as lines, as JSON, next to the truth, and as a page to look at."""

import base64
import dataclasses
import datetime
import html
import io
import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image, ImageOps

from supervised_reptile.classification.examples import Examples

ESCAPES = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"})

PNG = "data:image/png;base64,"
SIDE = 96  # pixels of a picture, at most
HEAD = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>What the images were taken for</title>
<style>
body { font: 15px sans-serif; margin: 2em; color: #222; background: #f4f4f4 }
section { display: flex; flex-wrap: wrap; gap: 12px; margin-bottom: 1.5em }
figure { margin: 0; padding: 8px; background: #fff; width: 120px; text-align: center }
figure.wrong { outline: 3px solid #c33 }
img { max-width: 96px; max-height: 96px; background: #fff }
img.seen { width: 28px; border: 1px solid #ccc; image-rendering: pixelated }
figcaption { font-size: 13px; overflow-wrap: anywhere }
small { color: #666 }
</style>
"""


@dataclasses.dataclass(frozen=True)
class Answer:
    """path: of the image. probabilities: by class, the likeliest first. truth: its class, None if
    unknown.
    """

    path: str
    probabilities: Mapping[str, float]
    truth: str | None = None

    @property
    def best(self) -> str:
        """The likeliest class."""
        return next(iter(self.probabilities))

    @property
    def probability(self) -> float:
        """That of the likeliest class."""
        return self.probabilities[self.best]

    @property
    def runner_up(self) -> str:
        """The second likeliest class."""
        return list(self.probabilities)[1]


def line(answer: Answer) -> str:
    """Path, class, probability and runner-up, with tabs between them."""
    words = (answer.path, answer.best, f"{answer.probability:.4f}", answer.runner_up)
    return "\t".join(word.translate(ESCAPES) for word in words)


def summary(answers: Sequence[Answer]) -> list[str]:
    """Accuracy in all and by class, and the confusion matrix, as lines that begin with #."""
    classes = sorted({name for answer in answers for name in answer.probabilities})
    counts = {
        truth: [sum(a.truth == truth and a.best == best for a in answers) for best in classes]
        for truth in classes
    }
    right = sum(counts[name][index] for index, name in enumerate(classes))
    lines = [f"# accuracy: {right / len(answers):.4f} ({right} of {len(answers)})"]
    for index, name in enumerate(classes):
        if total := sum(counts[name]):
            correct = counts[name][index]
            lines.append(f"#   {name}: {correct / total:.4f} ({correct} of {total})")
    width = max(map(len, (*classes, str(len(answers)))))
    lines.append("# rows: what it is; columns: what it was taken for")
    lines.append("# " + " ".join(f"{name:>{width}}" for name in ("", *classes)))
    for name, row in counts.items():
        lines.append("# " + " ".join(f"{cell:>{width}}" for cell in (name, *row)))
    return lines


def as_json(answers: Sequence[Answer]) -> str:
    """A list of objects with path, class, probabilities by class, and truth where it is known."""
    known = [
        {"path": answer.path, "class": answer.best, "probabilities": dict(answer.probabilities)}
        | ({"truth": answer.truth} if answer.truth is not None else {})
        for answer in answers
    ]
    return json.dumps(known, indent=1) + "\n"


def page(
    examples: Examples,
    answers: Sequence[Answer],
    model: str,
    pixels: Callable[[Sequence[str]], np.ndarray],
) -> str:
    """A self-contained HTML page; the least certain answers come first.

    model: its checkpoint. pixels: gives what the network sees of files, shown next to each.
    """
    date = datetime.date.today().isoformat()
    parts = [HEAD, f"<p>{html.escape(model)}, {date}. Small: what the network saw.</p>"]
    parts.append("<h1>Examples</h1>")
    for name, files in examples.support.items():
        pictures = "".join(_figure(*one, "") for one in zip(files, pixels(files)))
        parts.append(f"<h2>{html.escape(name)}</h2><section>{pictures}</section>")
    unsure = sorted(answers, key=lambda answer: answer.probability)
    parts.append("<h1>Answers, the least certain first</h1><section>")
    for answer, seen in zip(unsure, pixels([answer.path for answer in unsure])):
        best, second = html.escape(answer.best), html.escape(answer.runner_up)
        caption = f"<b>{best}</b> {answer.probability:.1%}<br><small>or {second}</small>"
        wrong = answer.truth is not None and answer.truth != answer.best
        if wrong:
            caption += f"<br>in truth {html.escape(answer.truth or '')}"
        parts.append(_figure(answer.path, seen, caption, "wrong" if wrong else ""))
    return "\n".join([*parts, "</section></html>\n"])


def _figure(file: str, seen: np.ndarray, caption: str, kind: str = "") -> str:
    """An image, and what the network saw of it, with a caption."""
    with Image.open(file) as image:
        ImageOps.exif_transpose(image, in_place=True)
        small = image.convert("RGBA")
    small.thumbnail((SIDE, SIDE))
    path = html.escape(file)
    picture = f'<img src="{address(png(small))}" alt="{path}" title="{path}">'
    picture += f'<img class="seen" src="{address(png(Image.fromarray(seen.squeeze())))}" alt="">'
    return f'<figure class="{kind}">{picture}<figcaption>{caption}</figcaption></figure>'


def address(content: bytes) -> str:
    """The address of a PNG file that is its own content."""
    return PNG + base64.b64encode(content).decode()


def png(image: Image.Image) -> bytes:
    """An image as a PNG file."""
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
