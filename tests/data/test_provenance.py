"""The record of where images came from: what is understood of it, and what is refused."""

import pytest

from supervised_reptile.data import provenance
from supervised_reptile.system.errors import RefusedError


@pytest.mark.parametrize("content", ['{"source": "a"}', "[1, 2]", "null"])
def test_a_record_of_another_program_says_that_the_images_are_the_users_own(tmp_path, content):
    (tmp_path / "origin.json").write_text(content)
    assert provenance.read(tmp_path).keys() == {"source"}


DAMAGED = {
    b"": "is damaged (Expecting value: line 1 column 1 (char 0)): ",
    b"\xff\xfe\x00": "is damaged ('utf-8' codec can't decode byte 0xff in position 0",
}


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_record_is_named(tmp_path, content):
    (tmp_path / "origin.json").write_bytes(content)
    with pytest.raises(RefusedError) as caught:
        provenance.read(tmp_path)
    message = str(caught.value)
    assert f"{tmp_path}/origin.json " in message and DAMAGED[content] in message
    assert "fetch the data again, or remove this file if" in message and "\n" not in message
