"""Where a data module stands: which process it serves, and how far training has come."""

from __future__ import annotations

from lightning.pytorch import LightningDataModule

from madkit.errors import ConfigError


class RankAwareDataModule(LightningDataModule):
    """A data module that deals out its own batches, so that they do not depend on the number of processes."""

    @property
    def _world(self) -> int:
        """Number of processes.

        Raises:
            ConfigError: if Lightning would deal out what is dealt out here already.
        """
        if self.trainer is None or self.trainer.world_size == 1:
            return 1
        if self.trainer._accelerator_connector.use_distributed_sampler:
            raise ConfigError("trainer.use_distributed_sampler=True would split the data twice: set it to false")
        return int(self.trainer.world_size)

    @property
    def _rank(self) -> int:
        """This process."""
        return 0 if self.trainer is None else int(self.trainer.global_rank)

    def _position(self) -> tuple[int, int]:
        """The epoch, and how many micro-batches of it are done; after a restart, those of the checkpoint."""
        if self.trainer is None:
            return 0, 0
        return self.trainer.current_epoch, self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
