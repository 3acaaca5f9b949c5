"""Bundles: made in parts, checked, unpacked, installed without an index and run, in a folder that has nothing else."""

import contextlib
import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile

import pytest

from madkit.bundling.bundle import bytes_of, default_command, recipe_files
from madkit.bundling.platforms import compatible
from madkit.bundling.wheelhouse import Wheelhouse
from madkit.cli.command import main
from madkit.errors import ConfigError

MAIN = """\
import pathlib, sys
said = [word if not pathlib.Path(word).exists() else f"{word}:there" for word in sys.argv[1:]]
print("madkit", *said)
"""


def stand_in(folder, name="madkit", version="9.0", requires=""):
    """A wheel of a package that says with which words it was run."""
    folder.mkdir(parents=True, exist_ok=True)
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", "")
        wheel.writestr(f"{name}/__main__.py", MAIN)
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle of a stand-in wheel, 2.5 MB of weights and a recipe."""
    folder = tmp_path_factory.mktemp("bundles")
    (folder / "recipes").mkdir()
    (folder / "recipes" / "my.yaml").write_text("seed_everything: 0\n")
    (folder / "models" / "tiny").mkdir(parents=True)
    (folder / "models" / "tiny" / "model.safetensors").write_bytes(os.urandom(2_500_000))
    (folder / "models" / "tiny" / "config.json").write_text("{}")
    (folder / "models" / "tiny" / "pytorch_model.bin").write_bytes(b"a pickle")
    stand_in(folder / "wheels")
    with contextlib.chdir(folder):
        words = ["--recipes", "recipes/my.yaml", "--base", "models/tiny", "--wheels", "wheels", "--part-size", "1MB"]
        assert main(["bundle", "--out", "bundle", *words]) == 0
    return folder / "bundle"


@pytest.fixture
def copied(made, tmp_path):
    """Its files, alone in another folder."""
    folder = tmp_path / "carried"
    folder.mkdir()
    for path in made.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def unpack(folder, *words, cwd=None):
    environment = {"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", "HOME": str(folder)}
    line = ["sh", str(folder / "unpack-and-run.sh"), "--python", sys.executable, *words]
    return subprocess.run(line, cwd=cwd or folder, env=environment, capture_output=True, text=True, check=False)


def test_parts_are_of_bounded_size_and_are_one_archive(made, tmp_path):
    parts = sorted(made.glob("part-*"))
    sizes = [path.stat().st_size for path in parts]
    assert sizes[:-1] == [1_000_000] * 2 and 0 < sizes[-1] <= 1_000_000
    assert {path.name for path in made.iterdir()} == {*(path.name for path in parts), "unpack-and-run.sh"}
    whole = tmp_path / "whole.tar"
    whole.write_bytes(b"".join(path.read_bytes() for path in parts))
    with tarfile.open(whole) as archive:
        names = archive.getnames()
    assert names == sorted(names) and "base/tiny/pytorch_model.bin" not in names
    assert {"base/tiny/model.safetensors", "base/tiny/config.json", "recipes/my.yaml"} <= set(names)
    script = (made / "unpack-and-run.sh").read_text()
    assert all(f"{p.name} {p.stat().st_size} {hashlib.sha256(p.read_bytes()).hexdigest()}" in script for p in parts)


def test_a_bundle_runs_where_there_is_no_index_and_nothing_is_done_twice(copied, tmp_path):
    place = tmp_path / "elsewhere"
    place.mkdir()
    first = unpack(copied, "--target", "--into", "here", cwd=place)
    assert first.returncode == 0, first.stderr
    expected = "madkit fit --config recipes/my.yaml:there --model.base base/tiny:there\n"
    assert first.stdout == expected and "installing into" in first.stderr
    installed = (place / "here" / ".installed").stat().st_mtime_ns
    for part in copied.glob("part-*"):
        part.unlink()
    again = unpack(copied, "--target", "--into", "here", "--", "madkit", "predict", cwd=place)
    assert again.stdout == "madkit predict\n" and again.stderr == "", again.stderr
    assert (place / "here" / ".installed").stat().st_mtime_ns == installed


def test_missing_short_and_damaged_parts_are_named(copied):
    path = copied / "part-0001"
    whole = path.read_bytes()

    def said():
        result = unpack(copied, "--target")
        assert result.returncode == 2 and not result.stdout and not (copied / "unpacked").exists()
        return result.stderr.splitlines()

    path.unlink()
    assert said() == [f"unpack-and-run.sh: parts are not complete: part-0001 (missing); copy them into {copied} again"]
    path.write_bytes(whole[:-1])
    assert "part-0001 (not 1000000 bytes)" in said()[0]
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert said()[-1] == f"unpack-and-run.sh: parts are damaged (SHA-256): part-0001; copy them into {copied} again"


def test_another_python_is_refused(copied):
    script = copied / "unpack-and-run.sh"
    script.write_text(script.read_text().replace(f"version='3.{sys.version_info[1]}'", "version='3.1'"))
    assert f"{sys.executable} is not Python 3.1, for which the bundle is" in unpack(copied).stderr
    assert "there is no option --how" in unpack(copied, "--how").stderr
    assert unpack(copied, "--help").stdout.startswith("Unpack a bundle")


def test_the_same_files_make_the_same_bundle_and_old_parts_go(made, monkeypatch):
    monkeypatch.chdir(made.parent)
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    (made / "part-0099").write_bytes(b"of another bundle")
    words = ["--recipes", "recipes/my.yaml", "--base", "models/tiny", "--wheels", "wheels", "--part-size", "1MB"]
    assert main(["bundle", "--out", "bundle", *words]) == 0
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--part-size", "48"], "part_size='48': give at least a megabyte"),
        (["--recipes", "none.yaml"], "there is no 'none.yaml'"),
        (["--recipes", "wheels/my.yaml"], "lies where the bundle has its own files"),
        (["--wheels", "."], "that folder has no \\*.whl"),
        (["--base", "empty"], "holds no .safetensors weights"),
        (["--base", "package://nonesuch"], "base='package://nonesuch': no package 'nonesuch' is installed here"),
        (["--platform", "linus"], "platform='linus' is none of wheels"),
        (["--python", "2.7"], "python='2.7': give a version such as 3.12"),
        (
            ["--without", "nonesuch", "--package", "madkit-9.0-py3-none-any.whl"],
            "--without nonesuch: it is not installed",
        ),
        (["--package", "empty"], "'empty' is no source of madkit"),
    ],
)
def test_what_cannot_be_bundled_is_an_error_of_one_line(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MADKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "my.yaml").write_text("{}")
    (tmp_path / "empty").mkdir()
    stand_in(tmp_path)
    for path in tmp_path.glob("*.whl") if "--wheels" in words else ():
        path.unlink()
    assert main(["bundle", *words]) == 2
    assert says.replace("\\", "") in capsys.readouterr().err
    assert not list(tmp_path.glob("bundle/part-*"))


def test_pip_finds_wheels_of_this_machine_and_leaves_out_what_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    house = stand_in(tmp_path / "house", requires="Requires-Dist: nonesuch\nRequires-Dist: torch\n")
    stand_in(house, "nonesuch")
    monkeypatch.setenv("PIP_FIND_LINKS", str(house))
    wheel = house / "madkit-9.0-py3-none-any.whl"
    kept = Wheelhouse(tmp_path / "kept", without=["torch"]).collect(wheel)
    assert [path.name for path in kept] == ["madkit-9.0-py3-none-any.whl", "nonesuch-9.0-py3-none-any.whl"]
    wheel = stand_in(tmp_path / "other", requires="Requires-Dist: nonesuch>=10\n") / wheel.name
    with pytest.raises(ConfigError, match="has no wheel for manylinux2014_x86_64 and Python 3.12: name a later"):
        Wheelhouse(tmp_path / "kept", "manylinux2014_x86_64", "3.12").collect(wheel)


def test_names_of_platforms_sizes_and_recipes(tmp_path, monkeypatch):
    assert compatible("manylinux2014_aarch64")[:2] == ["manylinux_2_17_aarch64", "manylinux2014_aarch64"]
    assert compatible("manylinux_2_28_x86_64")[-1] == "manylinux1_x86_64"
    assert compatible("macosx_14_0_arm64") == ["macosx_14_0_arm64"]
    assert bytes_of("2 GB") == 2 * 10**9 and bytes_of("48MiB") == 48 * 2**20
    monkeypatch.chdir(tmp_path)
    for name in ("my/a.yaml", "my/.git/x", "my/__pycache__/y.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert recipe_files(["my"]) == ([], {"my/a.yaml": tmp_path.joinpath("my/a.yaml").relative_to(tmp_path)})
    assert recipe_files([str(tmp_path / "my" / "a.yaml")])[0] == ["my/a.yaml"]
    assert default_command([], None) == "madkit --help"
