"""Folders of sparse autoencoders in the layouts of those who publish them, with random weights."""

import json

import numpy as np
import torch
from safetensors.torch import save_file


def weights(d=12, m=40, seed=0, dtype=torch.float32):
    """W_enc (d, m), b_enc (m,), W_dec (m, d), b_dec (d,), threshold (m,), and those of a gate."""
    made = torch.Generator().manual_seed(seed)

    def normal(*shape, scale=1.0):
        return (scale * torch.randn(*shape, generator=made)).to(dtype)

    return {
        "W_enc": normal(d, m), "b_enc": normal(m, scale=0.3), "W_dec": normal(m, d), "b_dec": normal(d, scale=0.5),
        "threshold": normal(m).abs(), "b_gate": normal(m, scale=0.5), "r_mag": normal(m, scale=0.3),
        "b_mag": normal(m, scale=0.3),
    }  # fmt: skip


def sae_lens(folder, w, names=("W_enc", "b_enc", "W_dec", "b_dec"), **settings):
    """A folder of SAELens."""
    folder.mkdir(parents=True, exist_ok=True)
    d, m = w["W_enc"].shape
    save_file({name: w[name].contiguous() for name in names}, folder / "sae_weights.safetensors")
    config = {"d_in": d, "d_sae": m, "hook_name": "blocks.1.hook_resid_post", "model_name": "tiny", **settings}
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


def llama_scope(folder, w, length, threshold, **settings):
    """A folder of Llama Scope, trained on activations of this mean length."""
    (folder / "checkpoints").mkdir(parents=True)
    named = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "decoder.weight": w["W_dec"].T}
    tensors = {name: x.contiguous() for name, x in {**named, "decoder.bias": w["b_dec"]}.items()}
    save_file(tensors, folder / "checkpoints" / "final.safetensors")
    hook = "blocks.1.hook_resid_post"
    config = {
        "hook_point_in": hook, "hook_point_out": hook, "use_decoder_bias": True, "d_model": len(w["b_dec"]),
        "apply_decoder_bias_to_pre_encoder": False, "act_fn": "jumprelu", "jump_relu_threshold": threshold,
        "norm_activation": "dataset-wise", "dataset_average_activation_norm": {"in": length, "out": length},
        "sparsity_include_decoder_norm": True, "use_glu_encoder": False, "top_k": 5, **settings,
    }  # fmt: skip
    (folder / "hyperparams.json").write_text(json.dumps(config))
    return folder


def gemma_scope(folder, w):
    """A folder of Gemma Scope."""
    folder.mkdir(parents=True)
    names = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
    np.savez(folder / "params.npz", **{name: w[name].numpy() for name in names})
    return folder


def gemma_scope_2(folder, w, **settings):
    """A folder of Gemma Scope 2."""
    folder.mkdir(parents=True)
    names = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
    save_file({name.lower(): w[name].contiguous() for name in names}, folder / "params.safetensors")
    hook = "model.layers.1.output"
    config = {"hf_hook_point_in": hook, "hf_hook_point_out": hook, "model_name": "google/gemma-3-1b-pt", "type": "sae"}
    (folder / "config.json").write_text(json.dumps({**config, "architecture": "jump_relu", **settings}))
    return folder


def sparsify(folder, w, k=5, **settings):
    """A folder of sparsify."""
    folder.mkdir(parents=True)
    tensors = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "W_dec": w["W_dec"], "b_dec": w["b_dec"]}
    save_file({name: x.contiguous() for name, x in tensors.items()}, folder / "sae.safetensors")
    (folder / "cfg.json").write_text(
        json.dumps({"k": k, "d_in": len(w["b_dec"]), "num_latents": len(w["b_enc"]), **settings})
    )
    return folder
