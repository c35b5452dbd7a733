"""A task as the network sees it, as a picture: inverted or wrongly decoded images show at once."""

import io

import numpy as np
from PIL import Image, ImageDraw

from supervised_reptile.args import Config
from supervised_reptile.data.image_set import ImageSet
from supervised_reptile.learning.sampling import Draws, Population, Purpose, draw_images

SIDE = 64  # pixels of an image, at least
GAP, TITLE = 4, 16
RIGHT, WRONG, GROUND = "#2a9d3f", "#d03030", "#ffffff"


def training_task(config: Config, images: ImageSet) -> np.ndarray:
    """Indices of the first training task, int [classes, images]."""
    population, draws = Population.of(images, "train"), _draws(config, Purpose.TRAINING)
    task, count = config.task, config.outer.meta_batch
    return draw_images(population, count, task.classes, task.training_shots, draws)[0, 0]


def evaluation_task(config: Config, images: ImageSet, split: str) -> np.ndarray:
    """Indices of the first task that a curve shows, int [classes, shots + 1]; the last column has
    the queries."""
    purpose = Purpose[f"INTERVAL_{split.upper()}"]
    population, draws = Population.of(images, split), _draws(config, purpose)
    return draw_images(population, 1, config.task.classes, config.task.shots + 1, draws)[0, 0]


def _draws(config: Config, purpose: Purpose) -> Draws:
    return Draws(config.run.seed, purpose, [0])


def picture(pixels: np.ndarray, task: np.ndarray, guesses: np.ndarray | None = None) -> bytes:
    """A PNG: a row for each class. guesses: what each query (the last column) was taken for, int
    [classes]; an image of that class stands beside it."""
    columns = [list(row) for row in task]
    if guesses is not None:
        columns = [[*row, task[guess][0]] for row, guess in zip(task, guesses)]
    scale = max(1, -(-SIDE // pixels.shape[1]))
    side = scale * pixels.shape[1] + GAP
    sheet = Image.new("RGB", (side * len(columns[0]) + GAP, side * len(task) + GAP + TITLE), GROUND)
    draw = ImageDraw.Draw(sheet)
    if guesses is not None:
        draw.text((GAP, 1), "support, then the query and what it was taken for", fill="black")
    for row, members in enumerate(columns):
        for column, index in enumerate(members):
            corner = (GAP + column * side, TITLE + GAP + row * side)
            if guesses is not None and column >= len(members) - 2:
                colour = RIGHT if guesses[row] == row else WRONG
                draw.rectangle(
                    [*(x - GAP // 2 for x in corner), *(x + side - 1 for x in corner)], colour
                )
            sheet.paste(_enlarged(pixels[index], scale), corner)
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return content.getvalue()


def _enlarged(pixels: np.ndarray, scale: int) -> Image.Image:
    image = Image.fromarray(np.asarray(pixels).squeeze())
    return image.resize((scale * image.width, scale * image.height), Image.Resampling.NEAREST)
