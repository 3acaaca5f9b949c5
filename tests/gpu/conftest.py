"""Tests of what only a card does. They skip without one; `make gpu` runs them.

`MADKIT_CARD=cpu` runs them on a CPU, where they say something of the tests and nothing of cards.
"""

import os

import pytest
import torch


@pytest.fixture(scope="session")
def card():
    """The device."""
    name = os.environ.get("MADKIT_CARD", "cuda")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device(name)


@pytest.fixture
def group(card):
    """A process group of one, by NCCL on a card."""
    dist = torch.distributed
    backend = "nccl" if card.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    yield backend
    dist.destroy_process_group()


@pytest.fixture
def no_group_is_left():
    """A stage that made a process group leaves it to its process, which here goes on."""
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
