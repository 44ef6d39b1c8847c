"""What the file system refuses is said with the path, by everything that writes."""

import errno
import os
import tempfile

import pytest
from safetensors import SafetensorError

from segrepro import files
from segrepro.errors import InputError, explained


def test_a_full_disk_is_said_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "new" / "record.json"
    files.write_atomically(path, "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(InputError, match=r"record.json cannot be written \(No space left on device\). Make room"):
        files.write_atomically(path, "new")
    assert [(file.name, file.read_text()) for file in path.parent.iterdir()] == [("record.json", "old")]


def test_a_folder_that_is_a_file_or_read_only_is_said(tmp_path, monkeypatch):
    (tmp_path / "runs").write_text("")
    with pytest.raises(InputError, match=r"runs cannot be written \(File exists\)"):
        files.make_folder(tmp_path / "runs")
    monkeypatch.setattr(files.os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(InputError, match=r"here cannot be written \(Permission denied\)"):
        files.write_atomically(tmp_path / "here" / "file", "")


def test_a_network_that_cannot_be_stored_is_said():
    with (
        pytest.raises(InputError, match=r"network.safetensors cannot be written \(I/O error\)"),
        files.writing("network.safetensors"),
    ):
        raise SafetensorError("I/O error")


def test_a_command_ends_with_the_message_alone():
    with pytest.raises(SystemExit, match="^error: device: none. Set another.$"), explained():
        raise InputError("device: none. Set another.")


def test_temporary_files_lie_beside_their_target(tmp_path, monkeypatch):
    """Moving is atomic on one file system only."""
    made, real = [], tempfile.mkstemp
    monkeypatch.setattr(files.tempfile, "mkstemp", lambda **where: made.append(where["dir"]) or real(**where))
    files.write_atomically(tmp_path / "a" / "b", b"")
    assert made == [tmp_path / "a"]
