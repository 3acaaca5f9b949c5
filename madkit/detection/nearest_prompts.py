"""Which trusted prompts each test prompt resembles at each site, for a reader who looks at one prompt."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from madkit.analysis.nearest_rows import NearestRows
from madkit.detection.result_tables import layer_column
from madkit.detection.row_pools import gathered, keep
from madkit.detection.site_scores import SiteKey
from madkit.store.variant import Variant
from madkit.streaming.pool import Pool

FEATURE = Variant("activations")
"""The feature in which prompts are compared: the states of the model as they are."""
NEAREST = 3
"""Trusted prompts of a test prompt."""


class NearestPrompts:
    """Collects one site after the other.

    Attributes:
        tables: of each finished site.
    """

    def __init__(self) -> None:
        self.tables: dict[SiteKey, pd.DataFrame] = {}
        self._trusted: Pool
        self._found: Pool
        self._index: NearestRows | None = None
        self._rows: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    @torch.inference_mode(False)
    def begin_site(self, device: torch.device) -> None:
        """Forget the site before; vectors are kept on a device."""
        self._trusted, self._found, self._index = Pool().to(device), Pool().to(device), None

    def add_trusted(self, rows: Tensor, x: Tensor) -> None:
        """Trusted prompts of this process: their numbers (b,) and vectors (b, d)."""
        keep(self._trusted, rows, x)

    def add_test(self, rows: Tensor, x: Tensor) -> None:
        """Test prompts, after the trusted ones of all processes; every process has to come here."""
        if self._index is None:
            self._rows, trusted = gathered(self._trusted, x.shape[1])
            self._index = NearestRows(torch.from_numpy(trusted).to(x.device), NEAREST)
        index, distance = self._index(x.double())
        keep(self._found, rows, torch.column_stack([index.double(), distance]))

    def end_site(self, key: SiteKey) -> None:
        """Make the table of the site, if there were vectors, and free them."""
        if self._index is not None:
            k = self._index.k
            rows, values = gathered(self._found, 2 * k)
            self.tables[key] = pd.DataFrame(
                {
                    "row": np.repeat(rows, k),
                    "rank": np.tile(np.arange(1, k + 1, dtype=np.int8), len(rows)),
                    "trusted_row": self._rows[values[:, :k].astype(np.int64).ravel()],
                    # What two orders of summing differ by is not kept.
                    "distance": values[:, k:].ravel().astype(np.float32),
                    "typical": np.float32(self._index.typical()),
                }
            )
        del self._trusted, self._found
        self._index = None

    def table(self, layers: Mapping[SiteKey, int | None], prompts: pd.Series) -> pd.DataFrame | None:
        """All sites, one under the other; None where there are none.

        Args:
            layers: the layer of each site.
            prompts: the text of each trusted prompt, by row.

        Returns:
            feature, adapter, site, layer, row, rank (1 is the nearest), trusted_row, prompt (its text), distance (see
            `NearestRows`), typical (the median distance of trusted prompts to the nearest other one).
        """
        parts = [
            part.assign(
                feature=key[0].feature,
                adapter=key[0].adapter,
                site=key[1],
                layer=layer_column(layers[key], len(part)),
                prompt=prompts.loc[part["trusted_row"]].to_numpy(),
            )
            for key, part in self.tables.items()
            if key in layers
        ]
        columns = ["feature", "adapter", "site", "layer", "row", "rank", "trusted_row", "prompt", "distance", "typical"]
        return pd.concat(parts, ignore_index=True)[columns] if parts else None
