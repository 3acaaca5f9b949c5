"""Whether attention may use cuDNN's kernels, which are not for masks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch.backends import cuda


@contextmanager
def cudnn_attention(allowed: bool) -> Iterator[None]:
    """Allow or forbid cuDNN's kernels of `scaled_dot_product_attention`; the other kernels are as they were.

    Given a mask, those of some versions return NaN: for a query that may see no token, as padding on the left has
    them, and in the gradient of queries where a length is 64 more than a multiple of 128 (pytorch/pytorch#196678;
    torch 2.11 on an H200 was seen to do so). torch takes them first on the cards that have them.
    """
    before = cuda.cudnn_sdp_enabled()
    cuda.enable_cudnn_sdp(allowed)
    try:
        yield
    finally:
        cuda.enable_cudnn_sdp(before)


def recomputed_alike() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of a forward pass and of its recomputation in the backward pass, which has to take the same kernels.

    For `context_fn` of `torch.utils.checkpoint.checkpoint`, which asks for them in the forward pass.
    """
    return nullcontext(), cudnn_attention(cuda.cudnn_sdp_enabled())
