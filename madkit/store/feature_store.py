"""The feature store: vectors on disk, in shards, with the rows they belong to and what made them.

A run keeps one store per feature in ``features/<feature>/<key>/``, and in ``controls/<feature>/<key>/`` those of the
features that were read with the adapter switched off:

``manifest.json``
    what made it (model, adapter, tokenizer, prompts, sites), its shards, whether it is complete, and the checksums of
    the other files and of all that it says itself;
``rows.parquet``
    one line per prompt, in row order;
``shard-00000.safetensors``
    a tensor (rows of the shard, d) per site and the row numbers, for prompts of one split, with the checksum of each.
    Sites of sparse latents have two instead, ``<site>.indices`` and ``<site>.values`` (rows, k), and their d in the
    manifest.

The key is a digest of the identity, so another model, adapter or set of prompts goes to another folder, and an
interrupted extraction finds the shards it has already written. ``features/<feature>/current.json`` names the key of the
extraction that was asked for last, once it is complete. What is damaged or missing is an error when it is read, and is
made again by the command that made it.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import torch
from torch import Tensor

from madkit.errors import StoreError
from madkit.runs.fingerprints import digest
from madkit.runs.naming import folder_name
from madkit.runs.tables import write_parquet
from madkit.store.checksums import file_checksum
from madkit.store.manifest import (
    current_key,
    make_current,
    make_none_current,
    read_manifest,
    write_manifest,
)
from madkit.store.prompt_rows import check_prompt_rows
from madkit.store.shards import Shard
from madkit.store.tensor_file import TensorFile
from madkit.streaming.validation import sparse_rows


class FeatureStore:
    """One feature of one run, on disk.

    Reading maps files into memory and copies only the rows asked for, so a store may be larger than memory.

    Args:
        folder: ``features/<feature>/<key>`` of a run.

    Raises:
        StoreError: if there is no store, or its manifest cannot be read.
    """

    #: The format of the files and of the identity.
    FORMAT: ClassVar[int] = 3
    #: What makes such a store, for error messages.
    command: ClassVar[str] = "madkit predict"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[int, TensorFile] = {}
        self.manifest = read_manifest(folder, self.FORMAT, self.command)

    @classmethod
    def key(cls, identity: dict[str, Any]) -> str:
        """The folder name of a store with this identity."""
        return digest([cls.FORMAT, identity])

    @staticmethod
    def check_table(rows: pd.DataFrame) -> None:
        """Refuse a table whose rows are not what vectors are of: here, prompts."""
        check_prompt_rows(rows)

    @classmethod
    def create(
        cls,
        root: Path,
        identity: dict[str, Any],
        sites: list[str],
        shards: list[Shard],
        rows: pd.DataFrame,
        layers: list[int | None] | None = None,
        widths: dict[str, int] | None = None,
    ) -> FeatureStore:
        """Make an empty store, or open the one that an interrupted extraction has begun.

        Args:
            root: ``features/<feature>`` of a run.
            identity: what makes the vectors, as plain data.
            sites: names of the vectors.
            shards: how the prompts are cut.
            rows: the prompts, one line each, with the columns of `madkit.store.prompt_rows.COLUMNS` and ``row``.
            layers: the layer number of each site, where it has one.
            widths: the length of the vectors of each sparse site.

        Raises:
            DataError: the table lacks columns, or one holds what it cannot hold; see `madkit.store.prompt_rows`.
            ConfigError: a site has no name that a folder can have.
        """
        cls.check_table(rows)
        for site in sites:
            folder_name(site, "site")
        folder = root / cls.key(identity)
        try:
            store = cls(folder)
            store._check_rows()
        except StoreError:
            layout = [{"index": s.index, "split": s.split, "first": s.rows[0], "count": len(s.rows)} for s in shards]
            table = write_parquet(folder / "rows.parquet", rows)
            manifest = {
                "format": cls.FORMAT, "identity": identity, "sites": sites, "layers": layers or [None] * len(sites),
                "widths": widths or {}, "shards": layout, "rows": file_checksum(table), "complete": False,
            }  # fmt: skip
            write_manifest(folder, manifest)
            store = cls(folder)
        if current_key(root) != folder.name:
            make_none_current(root)  # what another command asked for is no longer what a next stage is to read
        return store

    @classmethod
    def current(cls, root: Path | str) -> FeatureStore:
        """Open the last complete store of a feature.

        Args:
            root: the feature's folder, such as ``runs/tiny-llama/addition/features/activations``.

        Raises:
            StoreError: if there is none or it is incomplete.
        """
        root = Path(root)
        key = current_key(root)
        if key is None:
            raise StoreError(
                f"no complete store of feature {root.name!r} in {str(root.parent)!r}; run (or continue) `{cls.command}`"
            )
        store = cls(root / key)
        if not store.complete:
            raise StoreError(f"store {str(store.folder)!r} is incomplete; run `{cls.command}` again to continue it")
        return store

    @property
    def complete(self) -> bool:
        """Whether every shard has been written."""
        return bool(self.manifest["complete"])

    @property
    def identity(self) -> dict[str, Any]:
        """What made the vectors."""
        return self.manifest["identity"]

    @property
    def sites(self) -> list[str]:
        """Names of the vectors."""
        return self.manifest["sites"]

    @property
    def layers(self) -> dict[str, int | None]:
        """The layer number of each site, where it has one."""
        return dict(zip(self.sites, self.manifest["layers"], strict=True))

    @property
    def widths(self) -> dict[str, int]:
        """The length of the vectors of each sparse site."""
        return self.manifest.get("widths", {})

    @property
    def shards(self) -> list[Shard]:
        """How the prompts are cut."""
        return [
            Shard(s["index"], s["split"], tuple(range(s["first"], s["first"] + s["count"])))
            for s in self.manifest["shards"]
        ]

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The prompts, in row order.

        Raises:
            StoreError: the table is missing or damaged.
        """
        self._check_rows()
        return pd.read_parquet(self.folder / "rows.parquet")

    def _check_rows(self) -> None:
        path = self.folder / "rows.parquet"
        if not path.is_file() or file_checksum(path) != self.manifest["rows"]:
            raise StoreError(f"{str(path)!r} is missing or damaged; run `{self.command}` again, which makes it anew")

    def path(self, index: int) -> Path:
        """The file of a shard."""
        return self.folder / f"shard-{index:05d}.safetensors"

    def done(self) -> set[int]:
        """Indices of the shards that are on disk."""
        return {s["index"] for s in self.manifest["shards"] if self.path(s["index"]).exists()}

    def write(self, index: int, rows: Tensor, vectors: dict[str, Tensor]) -> None:
        """Write one shard, all of it or nothing.

        Args:
            index: the shard.
            rows: row numbers (n,), int64.
            vectors: a tensor (n, d) per dense site; ``<site>.indices`` and ``<site>.values`` (n, k) per sparse one.
        """
        order = torch.argsort(rows)
        content = {site: v.cpu()[order] for site, v in vectors.items()}
        content["row"] = rows.cpu()[order]
        self._files.pop(index, None)
        TensorFile.save(self.path(index), content)

    def discard_damaged(self, indices: Collection[int]) -> None:
        """Remove those of some shards that are not what was written, so that they are made again."""
        for index in sorted(set(indices) & self.done()):
            try:
                self._open(index).check()
            except StoreError as error:
                warnings.warn(f"{error}: it is made again", stacklevel=2)
                self._files.pop(index, None)
                self.path(index).unlink(missing_ok=True)

    def reopen(self, *, write: bool = True) -> None:
        """Declare a store incomplete that has lost shards.

        Args:
            write: whether this process is the one that writes.
        """
        if not self.complete or len(self.done()) == len(self.manifest["shards"]):
            return
        self.manifest["complete"] = False
        if write:
            make_none_current(self.folder.parent)
            write_manifest(self.folder, self.manifest)

    def finish(self) -> None:
        """Declare the store complete and current; it may have been complete before.

        Raises:
            StoreError: if a shard is missing.
        """
        indices = {s["index"] for s in self.manifest["shards"]}
        if missing := sorted(indices - self.done()):
            raise StoreError(
                f"store {str(self.folder)!r} lacks shards {missing[:5]}; run `{self.command}` again to continue it"
            )
        self.manifest["complete"] = False  # the checksums that it holds may be those of shards that were made again
        shards = [{**s, "checksum": self._open(s["index"]).checksum} for s in self.manifest["shards"]]
        self.manifest |= {"shards": shards, "complete": True}
        write_manifest(self.folder, self.manifest)
        make_current(self.folder.parent, self.folder.name)

    def count(self, split: str) -> int:
        """Number of prompts of a split."""
        return sum(s["count"] for s in self.manifest["shards"] if s["split"] == split)

    def read(self, site: str, split: str, start: int = 0, stop: int | None = None) -> tuple[Tensor, Tensor]:
        """Row numbers (n,) and vectors (n, d) of the ``start``-th to ``stop``-th prompt of a split.

        Vectors of a sparse site are a coalesced COO tensor.

        Raises:
            StoreError: if the site or split is not in the store, or a shard is damaged.
        """
        parts = list(self._slices(site, split, start, self.count(split) if stop is None else stop))
        if not parts:
            raise StoreError(
                f"store {str(self.folder)!r} has no prompts of split {split!r} in {start}:{stop}; "
                f"it holds {sorted({s['split'] for s in self.manifest['shards']})}"
            )
        rows, x = torch.cat([rows for rows, _ in parts]), torch.cat([x for _, x in parts])
        return rows, x if x.layout == torch.strided else x.coalesce()

    def _slices(self, site: str, split: str, start: int, stop: int) -> Iterator[tuple[Tensor, Tensor]]:
        if site not in self.sites:
            raise StoreError(f"site {site!r} is not in store {str(self.folder)!r}; it has {', '.join(self.sites)}")
        offset = 0
        for shard in self.manifest["shards"]:
            if shard["split"] != split:
                continue
            first, last = max(start - offset, 0), min(stop - offset, shard["count"])
            offset += shard["count"]
            if first < last:
                yield self.read_shard(shard["index"], site, first, last)

    def read_shard(self, index: int, site: str, first: int = 0, last: int | None = None) -> tuple[Tensor, Tensor]:
        """Row numbers (n,) and vectors (n, d) of the ``first``-th to ``last``-th prompt of a shard.

        Raises:
            StoreError: if the shard is missing or damaged.
        """
        file = self._open(index)
        try:
            rows = file.read("row", first, last)
            start = self._shard(index)["first"] + first
            if not torch.equal(rows, torch.arange(start, start + len(rows))):
                raise StoreError(f"{str(file.path)!r} holds other rows than the manifest says")
            if site not in self.widths:
                return rows, file.read(site, first, last)
            indices, values = (file.read(f"{site}.{part}", first, last) for part in ("indices", "values"))
        except StoreError as error:
            raise StoreError(f"{error}; run `{self.command}` again, which makes it anew") from error
        return rows, sparse_rows(indices.long(), values, self.widths[site])

    def _shard(self, index: int) -> dict[str, Any]:
        return next(s for s in self.manifest["shards"] if s["index"] == index)

    def _open(self, index: int) -> TensorFile:
        """The file of a shard, if it is the one that the manifest speaks of."""
        if index not in self._files:
            try:
                file = TensorFile(self.path(index))
            except StoreError as error:
                raise StoreError(f"{error}; run `{self.command}` again, which makes it anew") from error
            shard = self._shard(index)
            dense = [site for site in self.sites if site not in self.widths]
            names = {"row", *dense, *(f"{site}.{part}" for site in self.widths for part in ("indices", "values"))}
            if (
                set(file.shapes) != names
                or any(shape[0] != shard["count"] for shape in file.shapes.values())
                or (self.complete and file.checksum != shard["checksum"])
            ):
                raise StoreError(
                    f"{str(file.path)!r} is not the file that was written; run `{self.command}` again, which makes it "
                    "anew"
                )
            self._files[index] = file
        return self._files[index]
