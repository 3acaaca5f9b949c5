"""Values of prompts with their numbers, from all processes."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from madkit.streaming.accumulator import merge_processes
from madkit.streaming.pool import Pool


@torch.inference_mode(False)
@torch.no_grad()
def keep(pool: Pool, rows: Tensor, values: Tensor) -> None:
    """Remember values (b, k) with the numbers of their rows, which float64 holds exactly up to 2^53."""
    pool.update(torch.column_stack([rows.double(), values.double()]).to(pool.device))


def gathered(pool: Pool, k: int | None) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Row numbers (n,) and values (n, k) of all processes, in row order."""
    table = merge_processes(pool).result().cpu().numpy()
    table = table.reshape(-1, 1 + (k or 0))
    table = table[np.argsort(table[:, 0], kind="stable")]
    return table[:, 0].astype(np.int64), table[:, 1:]
