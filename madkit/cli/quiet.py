"""Lightning's tips and notices stay off the terminal."""

from __future__ import annotations

import logging
import warnings

# Messages that a user of madkit can do nothing about.
_NOISE = (
    ".*isinstance.treespec, LeafSpec.*",
    ".*You have overridden `on_before_batch_transfer`.*",
    ".*does not have many workers.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*predict returned None.*",
    ".*is_gradient_checkpointing. is deprecated.*",
    ".*is smaller than the logging interval.*",
    ".*Total length of `DataLoader` across ranks is zero.*",
    ".*Starting from v1.9.0, `tensorboardX` has been removed.*",
    ".*It is recommended to use `self.log.*sync_dist=True.*",  # what is logged is of all processes already
    ".*The `srun` command is available on your system but is not used.*",  # as on every login node
)


def quiet() -> None:
    """Keep Lightning's tips and notices off the terminal; warnings that matter stay."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for message in _NOISE:
        warnings.filterwarnings("ignore", message)
