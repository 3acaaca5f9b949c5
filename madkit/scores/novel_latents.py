"""Latents that the trusted rows never used."""

import torch
from torch import Tensor
from typing_extensions import override

from madkit.scores.common.score import Score
from madkit.streaming.used_features import UsedFeatures


class NovelLatents(Score):
    """Number of latents in use that no trusted row has ever used (the l0 of novelty).

    Formula: the number of i with x_i != 0 and t_i = 0 in all trusted rows t.

    Source: EleutherAI's second update on mechanistic anomaly detection, blog.eleuther.ai/mad_research_update_2, there
    called l0.

    Blind to: how strong a latent is, and new combinations of latents that have been seen. With many trusted prompts
    hardly any latent is novel. Of dense rows, where every feature is in use, nothing is.

    Use when: the rows are latents of a sparse autoencoder, and one wants to know which concepts are new; sparse rows
    stay sparse.

    Example:
        >>> trusted = torch.tensor([[0.0, 3.0, 0.0], [0.0, 0.0, 2.0]])
        >>> NovelLatents().fit(trusted)(torch.tensor([[5.0, 1.0, 0.0], [0.0, 1.0, 1.0]]))
        tensor([1., 0.], dtype=torch.float64)
    """

    accumulator = UsedFeatures
    sparse = True
    used: Tensor

    @override
    def estimate(self, trusted: Tensor, untrusted: None) -> dict[str, Tensor]:
        return {"used": trusted}

    @override
    def score(self, x: Tensor) -> Tensor:
        if x.layout == torch.strided:
            return ((x != 0) & (self.used == 0)).sum(1).double()
        rows, columns = x.indices()
        novel = (x.values() != 0) & (self.used[columns] == 0)
        return torch.bincount(rows[novel], minlength=len(x)).double()
