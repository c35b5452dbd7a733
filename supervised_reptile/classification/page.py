"""A page to look at: the examples by class, then what each image was taken for."""

import base64
import html
import io
from collections.abc import Sequence

from PIL import Image, ImageOps

from supervised_reptile.classification.answers import Answer
from supervised_reptile.classification.examples import Examples

SIDE = 96  # pixels of a picture, at most
HEAD = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>What the images were taken for</title>
<style>
body { font: 15px sans-serif; margin: 2em; color: #222; background: #f4f4f4 }
section { display: flex; flex-wrap: wrap; gap: 12px; margin-bottom: 1.5em }
figure { margin: 0; padding: 8px; background: #fff; width: 120px; text-align: center }
figure.wrong { outline: 3px solid #c33 }
img { max-width: 96px; max-height: 96px; background: #fff }
figcaption { font-size: 13px; overflow-wrap: anywhere }
small { color: #666 }
</style>
"""


def page(examples: Examples, answers: Sequence[Answer]) -> str:
    """A self-contained HTML page; the least certain answers come first."""
    parts = [HEAD, "<h1>Examples</h1>"]
    for name, files in examples.support.items():
        pictures = "".join(_figure(file, "") for file in files)
        parts.append(f"<h2>{html.escape(name)}</h2><section>{pictures}</section>")
    unsure = sorted(answers, key=lambda answer: answer.probability)
    parts.append("<h1>Answers, the least certain first</h1><section>")
    parts += [_answer(answer) for answer in unsure]
    return "\n".join([*parts, "</section></html>\n"])


def _answer(answer: Answer) -> str:
    lines = [
        f"<b>{html.escape(answer.best)}</b> {answer.probability:.1%}",
        f"<small>or {html.escape(answer.runner_up)}</small>",
    ]
    wrong = answer.truth is not None and answer.truth != answer.best
    if wrong:
        lines.append(f"in truth {html.escape(answer.truth or '')}")
    return _figure(answer.path, "<br>".join(lines), "wrong" if wrong else "")


def _figure(file: str, caption: str, kind: str = "") -> str:
    path = html.escape(file)
    picture = f'<img src="{_data(file)}" alt="{path}" title="{path}">'
    return f'<figure class="{kind}">{picture}<figcaption>{caption}</figcaption></figure>'


def _data(file: str) -> str:
    """The image as the address of its own content."""
    with Image.open(file) as image:
        ImageOps.exif_transpose(image, in_place=True)
        small = image.convert("RGBA")
    small.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    small.save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
