"""The server of the page: the same answers as for files, and refusals that do not end it."""

import base64
import copy
import io
import re
import socket
import zipfile
from unittest import mock

import numpy as np
import pytest
from PIL import Image
from werkzeug.test import Client

import supervised_reptile
from supervised_reptile.classification.command import classify
from supervised_reptile.drawing import server
from supervised_reptile.drawing.server import Page
from supervised_reptile.system.errors import RefusedError

HOST = "127.0.0.1:5"
FAST = {"eval_iters": 3}


@pytest.fixture(scope="module")
def page():
    return Page(supervised_reptile.load("o15", **FAST), {HOST})


@pytest.fixture
def send(page):
    """A function that sends a request, as a browser on this page, unless told otherwise."""

    def request(path, content=None, **headers):
        headers = {"Host": HOST, "Origin": f"http://{HOST}", **headers}
        method = "GET" if content is None else "POST"
        body = "data" if isinstance(content, bytes) else "json"
        return Client(page).open(path, method=method, headers=headers, **{body: content})

    return request


@pytest.fixture
def asked(page):
    """A question about what the page shows at first; the names are not in the order of folders."""
    classes = copy.deepcopy(page.start()["classes"])
    for one, name in zip(classes, ("zebra/é", "ant", "Ox")):
        one["name"] = name
    return {"classes": classes, "query": classes[2]["drawings"].pop()}


def png(width, height):
    content = io.BytesIO()
    Image.new("L", (width, height), 255).save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def opened(drawings):
    """The images in addresses as of `png`."""
    return [Image.open(io.BytesIO(base64.b64decode(one.partition(",")[2]))) for one in drawings]


def question(names, drawings=(), query=""):
    return {"classes": [{"name": name, "drawings": drawings} for name in names], "query": query}


@pytest.mark.slow
def test_the_zip_is_classified_as_the_page_says(page, send, asked, tmp_path):
    found = send("/answer", asked).json
    with zipfile.ZipFile(io.BytesIO(send("/zip", asked).data)) as file:
        file.extractall(tmp_path)
    labelled, new = tmp_path / "drawings" / "labelled", tmp_path / "drawings" / "new"
    assert sorted(path.name for path in labelled.iterdir()) == ["Ox", "ant", "zebra_é"]
    (answer,) = classify(page.model.config.run.checkpoint, str(labelled), str(new), **FAST)
    names = ("zebra_é", "ant", "Ox")
    assert [answer.probabilities[name] for name in names] == found["probabilities"]


def test_a_name_of_any_length_is_one_that_a_folder_can_have(send):
    asked = question(["語" * 300, "b"], [png(9, 9)])
    with zipfile.ZipFile(io.BytesIO(send("/zip", asked).data)) as file:
        lengths = [len(part.encode()) for name in file.namelist() for part in name.split("/")]
    assert len(lengths) == 2 * 4 and max(lengths) < 256


def test_the_page_begins_with_no_more_classes_than_the_model_tells_apart():
    begun = Page(mock.Mock(classes=2), set()).start()
    assert begun["most"] == len(begun["classes"]) == 2


def test_what_the_network_sees_is_what_it_sees_of_files(page, send, asked):
    seen = opened(send("/answer", asked).json["seen"])
    drawings = [*(one for each in asked["classes"] for one in each["drawings"]), asked["query"]]
    assert (np.stack(seen) == page.model.pixels(opened(drawings))[..., 0]).all()


def test_only_other_examples_are_adapted_to(page, send, asked, monkeypatch):
    before = send("/answer", asked).json["probabilities"]
    monkeypatch.setattr(page.model, "adapt", None)
    other = {**asked, "query": asked["classes"][0]["drawings"][0]}
    assert send("/answer", other).json["probabilities"] != before


def test_a_class_without_drawings_has_no_probability_and_one_class_none_at_all(send, asked):
    _, second, third = asked["classes"]
    third["drawings"] = []
    *others, last = send("/answer", asked).json["probabilities"]
    assert sum(others) == pytest.approx(1) and last is None
    second["drawings"] = []
    assert send("/answer", asked).json.keys() == {"seen"}
    assert send("/answer", {"classes": [], "query": ""}).json == {"seen": []}


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"Host": "evil.example:5"}, 403, "another address"),
        ({"Origin": "http://evil.example"}, 403, "another page"),
        ({"Origin": "null"}, 403, "another page"),
        ({"content": b"x" * (server.LARGEST_BODY + 1)}, 413, "exceeds"),
        ({"content": b"{"}, 400, "not what this page sends"),
        ({"content": {"classes": 3, "query": ""}}, 400, "not what this page sends"),
        ({"content": question("", query=png(600, 9))}, 400, "more than 512 pixels"),
        ({"content": question("", query=png(9, 9)[:-40])}, 400, "cannot be read|not what"),
        ({"content": question("", query="data:image/gif;base64,R0lGODlh")}, 400, "not what"),
        ({"content": question("aa")}, 400, "same name"),
        ({"content": question(["a/b", "a:b "])}, 400, "same name"),  # as names of folders
        ({"content": question("a", ["x"] * 201)}, 400, "more than 200"),
        ({"content": question("abcdef", [png(9, 9)])}, 400, "2 to 5 apart"),
        ({"path": "/../server.py"}, 404, "nothing here"),
    ],
)
def test_a_bad_request_is_refused_and_the_next_one_answered(send, asked, change, status, reason):
    response = send(**{"path": "/answer", "content": asked, **change})
    assert response.status_code == status and re.search(reason, response.text)
    assert send("/answer", asked).status_code == 200


def test_nothing_comes_from_elsewhere_and_no_code_is_inline(send):
    for path in server.FILES:
        response = send(path)
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self'" in policy
        paper = "https://arxiv.org/abs/1803.02999"
        assert set(re.findall(r"https?://[^\"' ]+", response.text)) <= {paper}
    assert not re.search(r"<script>|<style|\son\w+=|\sstyle=", send("/").text)


def test_a_port_that_is_taken_is_refused_in_one_line(page, capfd):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(RefusedError, match=r"--port \d+ cannot be used \(Address already in use"),
    ):
        server.serve(page.model, taken.getsockname()[1])
    assert capfd.readouterr() == ("", "")
