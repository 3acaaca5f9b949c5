"""Small language models with sharp random weights, a LoRA on one, and a padded batch for them."""

import torch

from madkit.lm import adapters

SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 31}


def make_lm(kind="llama", dtype=torch.float32, **options):
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    lm = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SMALL | options)).eval()
    with torch.no_grad():
        for p in lm.parameters():
            if p.ndim == 2:
                p.mul_(6)
    return lm.to(dtype)


def with_lora(lm, *more):
    torch.manual_seed(1)
    model = adapters.attach_lora(lm, {"r": 2, "target_modules": ["q_proj", "down_proj", *more]}).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name or "lora_embedding_A" in name:
                p.normal_(std=0.3)
    return model


def make_batch(n=6, length=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(n, length, dtype=torch.long)
    for i in range(n):
        mask[i, : i % 4] = 0
    ids = torch.randint(1, 31, (n, length), generator=generator)
    return {"input_ids": ids * mask, "attention_mask": mask, "choices": torch.tensor([[3, 7]]).repeat(n, 1)}
