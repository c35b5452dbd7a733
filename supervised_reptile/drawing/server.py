"""The page's server: what it shows, answers and saves, and what it refuses."""

import base64
import functools
import io
import json
import re
import signal
import socket
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from werkzeug import Request, Response
from werkzeug.exceptions import Forbidden, HTTPException, NotFound
from werkzeug.serving import WSGIRequestHandler, make_server

from supervised_reptile.classification.answers import PNG, address, png
from supervised_reptile.classification.classifier import Adapted, Classifier
from supervised_reptile.data.folders import Folder
from supervised_reptile.system import output
from supervised_reptile.system.errors import FailedError, RefusedError, explain
from supervised_reptile.system.machine import PACKAGE
from supervised_reptile.system.signals import Interrupted

HERE = Path(__file__).parent
# The drawings at the start: of an installed package, or of a checkout.
DRAWINGS = (HERE / "examples", PACKAGE.with_name("experiments") / "drawings" / "labelled")
FILES = {"/": ("page.html", "text/html"), "/page.css": ("page.css", "text/css")}
FILES["/page.js"] = ("page.js", "text/javascript")
LARGEST_BODY = 4 * 2**20  # bytes
LARGEST_SIDE = 512  # pixels of a drawing
MOST_DRAWINGS = 200
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Page:
    """A WSGI application. All that it keeps are networks that have adapted, by what they have
    adapted to: pages do not disturb one another.

    hosts: its addresses, as a browser names them.
    """

    def __init__(self, model: Classifier, hosts: set[str]) -> None:
        self.model, self.hosts = model, hosts
        self.at_work = threading.Lock()  # one answer at a time
        self._adapted = functools.lru_cache(8)(self._adapt)

    def __call__(self, environ: dict, start_response: Any) -> Any:
        request = Request(environ)
        request.max_content_length = LARGEST_BODY
        try:
            response = self.respond(request)
        except HTTPException as error:
            response = Response(error.description, error.code)
        except (RefusedError, FailedError) as error:
            response = Response(str(error), 400)
        except Exception as error:  # a bad request never ends the program
            response = Response(f"not what this page sends: {explain(error)}", 400)
        response.headers.update(HEADERS)
        return response(environ, start_response)

    def respond(self, request: Request) -> Response:
        """The response to a request. Raises HTTPException, or whatever goes wrong with content that
        no page sends."""
        if request.host not in self.hosts:
            raise Forbidden("this page has another address")
        if request.headers.get("Origin") not in (None, f"http://{request.host}"):
            raise Forbidden("another page asks")
        match request.method, request.path:
            case "GET", path if path in FILES:
                name, kind = FILES[path]
                return Response((HERE / name).read_text("utf-8"), mimetype=kind)
            case "GET", "/start":
                return _json(self.start())
            case "POST", "/answer":
                asked = json.loads(request.get_data())  # nobody else waits for a slow sender
                with self.at_work:
                    return _json(self.answer(asked))
            case "POST", "/zip":
                return Response(archive(json.loads(request.get_data())), mimetype="application/zip")
        raise NotFound("there is nothing here")

    def start(self) -> dict[str, Any]:
        """The first content of a page: classes with drawings, and how many classes there may be."""
        folder = Folder(next(place for place in DRAWINGS if place.is_dir()))
        classes = [
            {
                "name": part.name,
                "drawings": [address(Path(file.path).read_bytes()) for file in part.images],
            }
            for part in folder.folders
        ]
        return {"most": self.model.classes, "classes": classes[: self.model.classes]}

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The drawings as the network sees them, and its answer.

        asked: classes, a list of name and drawings, and query, the drawing in question or "". All
        drawings are PNG files as addresses.
        Returns seen: the addresses of all drawings, class by class, as the network sees them, that
        in question last. Where two classes or more have drawings, also adapted and answered:
        milliseconds, and probabilities: of each class, or null.
        """
        names = _names(asked)
        labels = [name for name, one in zip(names, asked["classes"]) for _ in one["drawings"]]
        drawings = [drawing for one in asked["classes"] for drawing in one["drawings"]]
        drawings += [asked["query"]] if asked["query"] else []
        if not drawings:
            return {"seen": []}
        pixels = self.model.pixels([_image(_content(drawing)) for drawing in drawings])
        found: dict[str, Any] = {
            "seen": [address(png(Image.fromarray(one[..., 0]))) for one in pixels]
        }
        if len(set(labels)) < 2:
            return found
        # As --classify reads the folders of the zip, so that its answers are the same.
        order = sorted(range(len(labels)), key=labels.__getitem__)
        given = tuple(labels[index] for index in order), pixels[order].tobytes()
        adapted, found["adapted"] = self._adapted(*given)
        if asked["query"]:
            start = time.perf_counter()
            row = adapted.probabilities(pixels[-1:])[0].tolist()
            found["answered"] = 1000 * (time.perf_counter() - start)
            known = dict(zip(adapted.classes, row))
            found["probabilities"] = [known.get(name) for name in names]
        return found

    def _adapt(self, labels: tuple[str, ...], pixels: bytes) -> tuple[Adapted, float]:
        """The network that has adapted, and the milliseconds that it took."""
        start = time.perf_counter()
        support = np.frombuffer(pixels, np.uint8).reshape(-1, *self.model.format.shape)
        adapted = self.model.adapt(support, labels)
        return adapted, 1000 * (time.perf_counter() - start)


def archive(asked: dict[str, Any]) -> bytes:
    """A zip of drawings/labelled, a folder for each class, and of drawings/new, for the drawing in
    question. asked: as in Page.answer."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, one in zip(_names(asked), asked["classes"]):
            for number, drawing in enumerate(one["drawings"], 1):
                file.writestr(f"drawings/labelled/{name}/{number:03}.png", _content(drawing))
        if asked["query"]:
            file.writestr("drawings/new/001.png", _content(asked["query"]))
    return content.getvalue()


def _names(asked: dict[str, Any]) -> list[str]:
    """The names of the classes as names of folders. Raises RefusedError if two are the same."""
    names = [re.sub(r"[^\w -]", "_", one["name"].strip())[:60] or "_" for one in asked["classes"]]
    if len(set(names)) < len(names):
        raise RefusedError("two classes have the same name: change one of them")
    if sum(len(one["drawings"]) for one in asked["classes"]) > MOST_DRAWINGS:
        raise RefusedError(f"there are more than {MOST_DRAWINGS} drawings: remove some")
    return names


def _content(address: str) -> bytes:
    return base64.b64decode(address.removeprefix(PNG), validate=True)


def _image(content: bytes) -> Image.Image:
    """An image that is not decoded yet."""
    image = Image.open(io.BytesIO(content), formats=["PNG"])
    if max(image.size) > LARGEST_SIDE:
        raise RefusedError(f"a drawing has more than {LARGEST_SIDE} pixels to a side")
    return image


def _json(content: dict[str, Any]) -> Response:
    return Response(json.dumps(content), mimetype="application/json")


class _Quiet(WSGIRequestHandler):
    """Writes no line for each request."""

    def log(self, type: str, message: str, *args: Any) -> None:
        pass


def serve(model: Classifier, port: int) -> None:
    """Serve the page until Ctrl-C. port: 0 for any that is free.

    Raises RefusedError if the port cannot be used.
    """
    page = Page(model, set())
    try:
        listening = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise RefusedError(f"--port {port} cannot be used ({explain(error)}): omit it") from None
    two = page.start()["classes"][:2]
    page.answer({"classes": two, "query": two[0]["drawings"][0]})  # TensorFlow needs time at first
    with listening:
        server = make_server(
            "127.0.0.1", port, page, True, request_handler=_Quiet, fd=listening.fileno()
        )
        names = ("127.0.0.1", "localhost")
        page.hosts = {f"{name}:{server.port}".removesuffix(":80") for name in names}
        output.say(f"Draw at http://127.0.0.1:{server.port} (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except Interrupted as interruption:
            page.at_work.acquire(timeout=5)  # TensorFlow does not like to be ended at work
            if interruption.number != signal.SIGINT:
                raise
