"""The feature store: vectors on disk, in shards, with the rows they belong to and what made them.

A run keeps one store per feature in ``features/<feature>/<key>/``, and in ``controls/<feature>/<key>/`` those of the
features that were read with the adapter switched off:

``manifest.json``
    what made it (model, adapter, tokenizer, prompts, sites), its shards, and whether it is complete;
``rows.parquet``
    one line per prompt, in row order;
``shard-00000.safetensors``
    a tensor (rows of the shard, d) per site and the row numbers, for prompts of one split. Sites of sparse latents have
    two instead, ``<site>.indices`` and ``<site>.values`` (rows, k), and their d in the manifest.

The key is a digest of the identity, so another model, adapter or set of prompts goes to another folder, and an
interrupted extraction finds the shards it has already written. ``features/<feature>/current.json`` names the key of the
last complete extraction.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from madkit.errors import StoreError
from madkit.runs.atomic import write_atomically, write_json, write_parquet
from madkit.runs.fingerprints import digest
from madkit.store.shards import Shard
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
    FORMAT: ClassVar[int] = 2
    #: What makes such a store, for error messages.
    command: ClassVar[str] = "madkit predict"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
        except FileNotFoundError:
            raise StoreError(f"no feature store in {str(folder)!r}; make one with `{self.command}`") from None
        except json.JSONDecodeError:
            raise StoreError(
                f"{str(folder / 'manifest.json')!r} is damaged; delete the folder and run `{self.command}`"
            ) from None
        if self.manifest.get("format") != self.FORMAT:
            raise StoreError(
                f"store {str(folder)!r} has format {self.manifest.get('format')!r} and this madkit reads "
                f"{self.FORMAT}; delete it and run `{self.command}` again"
            )

    @classmethod
    def key(cls, identity: dict[str, Any]) -> str:
        """The folder name of a store with this identity."""
        return digest([cls.FORMAT, identity])

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
            rows: the prompts, one line each, with a ``row`` column.
            layers: the layer number of each site, where it has one.
            widths: the length of the vectors of each sparse site.
        """
        folder = root / cls.key(identity)
        if not (folder / "manifest.json").exists():
            write_parquet(folder / "rows.parquet", rows)
            layout = [{"index": s.index, "split": s.split, "first": s.rows[0], "count": len(s.rows)} for s in shards]
            manifest = {
                "format": cls.FORMAT, "identity": identity, "sites": sites, "layers": layers or [None] * len(sites),
                "widths": widths or {}, "shards": layout, "complete": False,
            }  # fmt: skip
            write_json(folder / "manifest.json", manifest)
        return cls(folder)

    @classmethod
    def current(cls, root: Path) -> FeatureStore:
        """Open the last complete store of a feature.

        Raises:
            StoreError: if there is none or it is incomplete.
        """
        try:
            key = json.loads((root / "current.json").read_text())["key"]
        except FileNotFoundError:
            raise StoreError(
                f"no complete store of feature {root.name!r} in {str(root.parent)!r}; run (or continue) `{cls.command}`"
            ) from None
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
        """The prompts, in row order."""
        return pd.read_parquet(self.folder / "rows.parquet")

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
        content = {site: v.cpu()[order].contiguous() for site, v in vectors.items()}
        content["row"] = rows.cpu()[order].contiguous()
        write_atomically(self.path(index), lambda p: save_file(content, p))

    def finish(self) -> None:
        """Declare the store complete and current.

        Raises:
            StoreError: if a shard is missing.
        """
        indices = {s["index"] for s in self.manifest["shards"]}
        if missing := sorted(indices - self.done()):
            raise StoreError(
                f"store {str(self.folder)!r} lacks shards {missing[:5]}; run `{self.command}` again to continue it"
            )
        self.manifest["complete"] = True
        write_json(self.folder / "manifest.json", self.manifest)
        write_json(self.folder.parent / "current.json", {"key": self.folder.name})

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
        try:
            with safe_open(self.path(index), framework="pt") as file:
                rows = file.get_slice("row")[first:last]
                if site not in self.widths:
                    return rows, file.get_slice(site)[first:last]
                indices, values = (file.get_slice(f"{site}.{part}")[first:last] for part in ("indices", "values"))
                return rows, sparse_rows(indices.long(), values, self.widths[site])
        except (SafetensorError, OSError) as error:
            raise StoreError(
                f"{str(self.path(index))!r} is missing or damaged ({error}); delete it and run `{self.command}` again"
            ) from error
