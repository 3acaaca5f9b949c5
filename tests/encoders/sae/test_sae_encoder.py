"""SAEs recover the dictionary that their training data were made with."""

import lightning as L
import torch

from madkit.encoders.sae.sae_encoder import SAEEncoder
from madkit.encoders.stored_activations import StoredActivations


def test_an_sae_finds_a_sparse_dictionary(tmp_path):
    """Each row is a sum of 3 of 32 directions in 16 dimensions."""
    torch.manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(32, 16), dim=1)
    used = torch.rand(8192, 32).argsort(dim=1) < 3
    rows = (used * (1 + torch.rand(8192, 32))) @ directions

    class Rows(StoredActivations):
        vectors = {"site": 30 * rows + 5}  # noqa: RUF012
        base_fingerprint = "none"

        def identity(self):
            return {}

    torch.manual_seed(0)
    encoder = SAEEncoder(
        expansion=4, k=4, dead_after=20_000, multi_topk=True, optimizer=lambda p: torch.optim.Adam(p, lr=3e-3)
    )
    trainer = L.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path, use_distributed_sampler=False, accelerator="cpu",
    )  # fmt: skip
    trainer.fit(encoder, datamodule=Rows("", batch_size=512, steps_per_epoch=800))
    assert float(trainer.callback_metrics["val/fvu"]) < 0.1
    norms = encoder.encoders[0].coder.W_dec.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=1e-4, atol=1e-4)
    similarity = torch.nn.functional.normalize(encoder.encoders[0].coder.W_dec, dim=1) @ directions.T
    assert float((similarity.max(dim=0).values > 0.9).float().mean()) > 0.8
