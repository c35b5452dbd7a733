"""Files are put in place on the file systems of clusters and shared folders, too."""

import errno
import os
import stat

import pytest

from supervised_reptile.system import files


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP, errno.EIO])
def test_a_folder_that_cannot_be_synced_is_no_failure_but_a_broken_disk_is(
    tmp_path, monkeypatch, number
):
    def fsync(file):
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", fsync)
    if number == errno.EIO:
        with pytest.raises(OSError, match="Input/output"):
            files.write_atomically(tmp_path / "a", "whole")
    else:
        files.write_atomically(tmp_path / "a", "whole")
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "whole"
