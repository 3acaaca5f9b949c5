"""Wheelhouse: the wheels of madkit and all that it requires, for this machine or another one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import madkit
from madkit.bundling.platforms import compatible, own_python
from madkit.errors import ConfigError
from madkit.runs.atomic import make_folder, write_atomically
from madkit.runs.file_digest import file_digest
from madkit.runs.progress import ProgressLine


class Wheelhouse:
    """Wheels that pip chooses and downloads, as it is configured here; those that are at hand stay.

    Args:
        folder: where wheels are kept.
        platform: what they are for, such as ``manylinux_2_28_x86_64``; None for this machine.
        python: the version of Python that they are for, such as ``3.12``; None for this one.
        without: packages that the other machine has, with what only they require.
        extras: extras of madkit that are wanted, such as ``gguf``.
        constraints: a file with versions, as pip reads it; None for none.
    """

    def __init__(
        self,
        folder: Path,
        platform: str | None = None,
        python: str | None = None,
        without: Sequence[str] = (),
        extras: Sequence[str] = (),
        constraints: Path | None = None,
    ) -> None:
        if python is not None and not re.fullmatch(r"3\.\d+", python):
            raise ConfigError(f"python={python!r}: give a version such as 3.12")
        self.folder = folder
        self.without = list(without)
        self.extras = sorted(set(extras))
        self.constraints = constraints
        self.target: list[str] = []
        for tag in compatible(platform) if platform else []:
            self.target += ["--platform", tag]
        if python is not None:
            self.target += ["--python-version", python]
        self.what = f"{platform or 'this machine'} and Python {python or own_python()}"

    def collect(self, source: Path | None = None) -> list[Path]:
        """The wheels, downloaded where they are not at hand.

        Args:
            source: folder of madkit's source, or its wheel; None for the source that is running.

        Raises:
            ConfigError: pip is missing, or a package has no wheel for the machine.
        """
        make_folder(self.folder)
        with tempfile.TemporaryDirectory() as scratch:
            own = self._own_wheel(source, Path(scratch))
            print(f"[bundle: wheels] pip chooses them for {self.what}", file=sys.stderr, flush=True)
            stubs = {self._stub(name, Path(scratch)).name for name in self.without}
            chosen = [i for i in self._resolve(own, Path(scratch)) if getattr(_file_of(i), "name", "") not in stubs]
            line = ProgressLine()
            wheels = []
            for done, item in enumerate(chosen):
                line.show("bundle: wheels", done, len(chosen))
                wheels.append(self._kept(item))
            line.show("bundle: wheels", len(chosen), len(chosen))
        return sorted(wheels)

    def _own_wheel(self, source: Path | None, scratch: Path) -> Path:
        source = source or Path(madkit.__file__).parent.parent
        if source.suffix == ".whl" and source.is_file():
            return source
        if not (source / "pyproject.toml").is_file():
            raise ConfigError(
                f"{str(source)!r} is no source of madkit, of which a wheel could be made: name the folder of one, or a "
                "wheel, by --package"
            )
        self._build(str(source), scratch)
        return next(scratch.glob("madkit_lm-*.whl"))

    def _build(self, what: str, folder: Path) -> None:
        self._pip("wheel", "--no-deps", "--wheel-dir", str(folder), what)

    def _stub(self, name: str, folder: Path) -> Path:
        """A wheel of a package that is left out, which requires nothing; pip takes it in place of the real one."""
        try:
            number = _left_out(name)
        except PackageNotFoundError:
            raise ConfigError(
                f"--without {name}: it is not installed here, so it is not known which version to count on"
            ) from None
        plain = re.sub(r"[-_.]+", "_", name).lower()
        path = folder / f"{plain}-{number}-py3-none-any.whl"
        about = f"{plain}-{number}.dist-info"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", "")
        return path

    def _resolve(self, own: Path, scratch: Path) -> list[dict[str, Any]]:
        """What pip would install: name, version and where from."""
        report = scratch / "report.json"
        wanted = f"{own}[{','.join(self.extras)}]" if self.extras else str(own)
        words = ["install", "--dry-run", "--ignore-installed", "--report", str(report), *self._source(scratch)]
        words += ["--target", str(scratch / "none"), *(["-c", str(self.constraints)] if self.constraints else [])]
        words += [f"{name}=={_left_out(name)}" for name in self.without]
        built: set[str] = set()
        while True:
            try:
                self._pip(*words, wanted)
            except ConfigError as error:
                missing = re.search(r"No matching distribution found for ([\w.-]+[^\s;]*)", str(error))
                if missing is None or missing[1] in built:
                    raise
                # No wheel, so perhaps there is a source, of which one for every machine can be made here.
                built.add(missing[1])
                self._build_for_all(missing[1], scratch)
                continue
            return list(json.loads(report.read_text())["install"])

    def _build_for_all(self, requirement: str, scratch: Path) -> None:
        before = set(scratch.glob("*.whl"))
        try:
            self._build(requirement, scratch)
            pure = all(path.name.endswith("-none-any.whl") for path in set(scratch.glob("*.whl")) - before)
        except ConfigError:
            pure = False
        if not pure and self.target:
            name = re.split(r"[^\w.-]", requirement)[0]
            raise ConfigError(
                f"{requirement} has no wheel for {self.what}: name a later --platform, such as manylinux_2_28_x86_64, "
                f"or leave it out (--without {name}) where the other machine has it"
            )

    def _source(self, *folders: Path) -> list[str]:
        links = [word for folder in folders for word in ("--find-links", str(folder))]
        return [*links, "--only-binary=:all:", *self.target]

    def _kept(self, item: dict[str, Any]) -> Path:
        """The wheel of a package among those that are kept."""
        made = _file_of(item)
        if made is not None:
            content = made.read_bytes()
            return write_atomically(self.folder / made.name, lambda path: path.write_bytes(content))
        wanted = item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        kept = self.folder / unquote(Path(urlparse(item["download_info"]["url"]).path).name)
        if not (kept.is_file() and wanted and file_digest(kept) == wanted):
            kept.unlink(missing_ok=True)  # half of one, which pip would take for whole
            about = item["metadata"]
            one = f"{about['name']}=={about['version']}"
            self._pip("download", "--no-deps", "--dest", str(self.folder), *self._source(), one)
        if not kept.is_file() or (wanted and file_digest(kept) != wanted):
            raise ConfigError(f"pip did not download {kept.name!r} as it was announced: give the same command again")
        return kept

    def _pip(self, *words: str) -> None:
        line = [sys.executable, "-m", "pip", *words, "--quiet", "--no-input", "--disable-pip-version-check"]
        result = subprocess.run(line, capture_output=True, text=True, check=False)
        if result.returncode == 0:
            return
        said = [line.removeprefix("ERROR: ") for line in result.stderr.splitlines() if line.strip()]
        if "No module named pip" in result.stderr:
            raise ConfigError("there is no pip here, which chooses and downloads wheels: `python -m ensurepip`")
        last = said[-1] if said else "no reason given"
        reason = next((line for line in said if line.startswith(("No matching", "Cannot install"))), last)
        raise ConfigError(f"pip {words[0]} for {self.what}: {reason.strip()}; check the names and the network")


def _file_of(item: dict[str, Any]) -> Path | None:
    """The file of a package that was made here, and not downloaded."""
    address = urlparse(item["download_info"]["url"])
    return Path(unquote(address.path)) if address.scheme == "file" else None


def _left_out(name: str) -> str:
    """The version of the stand-in of a package that is left out: above that of any wheel of the installed version."""
    return f"{version(name).partition('+')[0]}+left.out"
