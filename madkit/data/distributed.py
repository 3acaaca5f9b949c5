"""RankAwareDataModule: a data module that knows its process and how far training has come."""

from __future__ import annotations

from lightning.pytorch import LightningDataModule

from madkit.errors import ConfigError
from madkit.training.lightning_internals import batches_begun, distributes_samples


class RankAwareDataModule(LightningDataModule):
    """A data module that shares out its own batches, so that they do not depend on the number of processes."""

    @property
    def _world(self) -> int:
        """Number of processes.

        Raises:
            ConfigError: Lightning would share out again what has been shared out here.
        """
        if self.trainer is None or self.trainer.world_size == 1:
            return 1
        if distributes_samples(self.trainer):
            raise ConfigError("trainer.use_distributed_sampler=True would split the data twice: set it to false")
        return int(self.trainer.world_size)

    @property
    def _rank(self) -> int:
        """Number of this process, from 0."""
        return 0 if self.trainer is None else int(self.trainer.global_rank)

    def _position(self) -> tuple[int, int]:
        """The epoch, and how many micro-batches of it are done; after a restart, those of the checkpoint."""
        if self.trainer is None:
            return 0, 0
        return self.trainer.current_epoch, batches_begun(self.trainer)
