"""A file is there whole or not at all, readable to whom the umask lets, and what is in the way is said in a line."""

import errno
import os
import subprocess
import sys

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from madkit.errors import StoreError
from madkit.runs.atomic import write_atomically, write_json
from madkit.runs.leftovers import host, partial_name, sweep
from madkit.runs.tables import is_table, read_table, write_parquet


@pytest.fixture(params=[0o022, 0o027, 0o077])
def mask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_files_and_folders_have_the_permissions_that_the_umask_leaves(tmp_path, mask):
    def write(path):
        path.mkdir(mode=0o700)
        save_file({"x": torch.zeros(1)}, path / "a.safetensors")
        (path / "a.safetensors").chmod(0o600)  # as temporary files have

    write_atomically(tmp_path / "folder", write)
    write_json(tmp_path / "a.json", {})
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"folder": 0o777 & ~mask, "a.safetensors": 0o666 & ~mask, "a.json": 0o666 & ~mask}


def test_all_of_it_is_on_the_disk_before_it_has_its_name_and_the_name_afterwards(tmp_path, monkeypatch):
    folder, synced = tmp_path / "folder", []

    def write(path):
        path.mkdir()
        (path / "a.txt").write_text("a")
        write_json(path / "b.json", {})  # which waits for the whole

    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append((os.fstat(descriptor).st_ino, folder.exists())))
    write_atomically(folder, write)
    *before, after = synced
    assert sorted(before) == sorted((path.stat().st_ino, False) for path in (folder, *folder.iterdir()))
    assert after == (tmp_path.stat().st_ino, True)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), r"a\.json' cannot be written \(No space left.*make room"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system.*name another folder"),
        (RuntimeError("Io error: No space left on device (os error 28)"), "No space left on device"),
    ],
)
def test_what_the_file_system_refuses_is_one_line(tmp_path, error, message):
    def write(path):
        path.write_text("half")
        raise error

    write_json(tmp_path / "a.json", 1)
    with pytest.raises(StoreError, match=message):
        write_atomically(tmp_path / "a.json", write)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "1\n"


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(PermissionError, match="elsewhere"):
        write_atomically(tmp_path / "a", lambda path: (_ for _ in ()).throw(PermissionError(13, "no", "/elsewhere/b")))
    with pytest.raises(ZeroDivisionError):
        write_atomically(tmp_path / "a", lambda path: 1 / 0)


def test_what_killed_processes_left_is_swept_up_and_what_others_write_is_not(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = {
        "mine": partial_name("a"),
        "gone": f".b.{host()}@{gone.pid}.partial",
        "gone, by an earlier name": f".c.{gone.pid}.partial",
        "running": f".d.{host()}@{os.getppid()}.partial",
        "elsewhere": f".e.another-host@{gone.pid}.partial",
        "elsewhere, long ago": f".f.another-host@{gone.pid}.partial",
    }
    for name in names.values():
        (tmp_path / "deep" / name).mkdir(parents=True)
        (tmp_path / "deep" / name / "file").write_text("")
    os.utime(tmp_path / "deep" / names["elsewhere, long ago"], (0, 0))
    sweep(tmp_path)
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {names["running"], names["elsewhere"]}


def test_a_table_with_a_flipped_bit_is_refused(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", pd.DataFrame({"x": range(1000), "y": ["a"] * 1000}))
    assert read_table(path, "")["x"].tolist() == list(range(1000))
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(bytes(content))
    assert not is_table(path)
    with pytest.raises(StoreError, match=r"a\.parquet' is damaged .*; run it again"):
        read_table(path, "run it again")
    with pytest.raises(StoreError, match="is missing"):
        read_table(tmp_path / "b.parquet", "")
