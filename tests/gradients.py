"""Help for tests of features made from gradients: models that compute in float64 throughout, patched forward passes."""

from contextlib import contextmanager

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from madkit.extraction.forward_pass import trace
from madkit.lm import adapters, forward

SIZE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 5, "num_attention_heads": 4, "vocab_size": 300}
SHAPES = {
    "grouped": {"model_type": "llama", "num_key_value_heads": 2},
    "wide heads": {"model_type": "mistral", "num_key_value_heads": 2, "head_dim": 16, "sliding_window": None},
    "gpt_neox": {"model_type": "gpt_neox"},
}


def _norm(module, x):
    """RMSNorm without the detour through float32 that transformers takes."""
    return module.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + module.variance_epsilon)


def make_model(shape, monkeypatch=None, scale=6.0):
    """Random weights, large enough that heads matter; float64 throughout with ``monkeypatch``."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(**SHAPES[shape], **SIZE)
    # Of the attention kernels sdpa keeps float64; eager attention has a softmax in float32.
    lm = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    with torch.no_grad():
        for p in lm.parameters():
            if p.ndim == 2:
                p.mul_(scale)
    if monkeypatch is None:
        return lm
    for kind in {type(m) for m in lm.modules() if type(m).__name__.endswith("RMSNorm")}:
        monkeypatch.setattr(kind, "forward", _norm)
    return lm.double()


def with_lora(lm, options, seed=0):
    """A model with a LoRA of random weights inside it; ``peft_model`` is what PEFT makes of it."""
    torch.manual_seed(seed)
    model = adapters.attach_lora(lm, options).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_" in name:
                p.normal_(std=0.3)
    object.__setattr__(lm, "peft_model", model)  # not a module of the model that it wraps
    return lm


def make_batch(n=6, length=9, padded=True):
    torch.manual_seed(1)
    ids = torch.randint(3, 300, (n, length))
    mask = torch.ones_like(ids)
    if padded:
        for row in range(n):
            mask[row, : min(row, length - 3)] = 0
    choices = torch.tensor([[5, 9]]).repeat(n, 1)
    return {"input_ids": ids, "attention_mask": mask, "choices": choices, "row": torch.arange(n)}


def rows(batch, index):
    return {key: value[index] for key, value in batch.items()}


def compute(lm, feature, batch, learned=None, beside=()):
    """The vectors of a feature, through the pass that the extractor makes."""
    features = [feature, *beside]
    traces = trace(lm, features, {f.name: f.hookpoints(lm) for f in features}, batch)
    traces[feature.name].learned = learned or {}
    return feature(traces[feature.name])


@contextmanager
def patched(lm, module, change):
    """Within this, what enters a module at the last token goes through ``change`` first."""

    def hook(_, args):
        x = args[0].clone()
        x[:, -1] = change(x[:, -1])
        return (x, *args[1:])

    handle = lm.get_submodule(module).register_forward_pre_hook(hook)
    yield
    handle.remove()


@torch.no_grad()
def log_odds(lm, batch):
    hidden = forward.hidden_states(lm, batch["input_ids"], batch["attention_mask"], padded=True)
    no, yes = lm.get_output_embeddings()(hidden[:, -1]).gather(1, batch["choices"]).unbind(1)
    return yes - no
