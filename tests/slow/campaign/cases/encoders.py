"""Sparse autoencoders of others: kinds that mean something else, another site, files that are not all there."""

import json

from published_saes import gemma_scope, llama_scope, sae_lens, sparsify, weights

from campaign.case import Accepted, Case, Refused
from campaign.steps import predict

WIDTH, LATENTS = 16, 48


def put(write, *arguments, folder="saes/layers.1", width=WIDTH, **settings):
    """Write an autoencoder of random weights."""

    def do(place):
        write(place.root / folder, weights(width, LATENTS), *arguments, **settings)

    return do


def sae(name, expect, *prepare, **options):
    """A predict that reads the autoencoders of a folder."""
    feature = [{"class_path": "SAE", "init_args": {"encoder": "saes", **options}}]
    words = ("--model.features", json.dumps(feature), "--model.controls", "[sae]")
    return Case(name, (predict(expect, *words),), prepare, start="fitted")


def cut(place):
    path = place.root / "saes" / "layers.1" / "sae.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


CASES = [
    sae("an SAE of sparsify", Accepted(), put(sparsify)),
    sae("a JumpReLU SAE of SAELens", Accepted(), put(sae_lens, ("W_enc", "b_enc", "b_dec", "threshold"), architecture="jumprelu")),
    sae("an SAE of Llama Scope at an MLP", Accepted(), put(llama_scope, 3.0, 0.2, hook_point_in="blocks.1.hook_mlp_out", hook_point_out="blocks.1.hook_mlp_out")),
    sae("an SAE whose latents are signed", Refused("signed: true"), put(sparsify, signed=True)),
    sae("a transcoder", Refused("transcoder"), put(sparsify, transcode=True)),
    sae("an SAE of another width", Refused("width 12"), put(sae_lens, width=12)),
    sae("an SAE of a layer that the model does not have", Refused(r"layers 0\.\.2"), put(sae_lens, hook_name="blocks.7.hook_resid_post")),
    sae("two SAEs of one site", Refused("both read"), put(sae_lens), put(sae_lens, folder="saes/again")),
    sae("an SAE that does not say what it reads", Refused("hooks"), put(gemma_scope)),
    sae("an SAE that does not say, and the recipe does", Accepted(), put(gemma_scope), hooks={"layers.1": "blocks.1.hook_resid_pre"}),
    sae("an SAE file cut off", Refused("sae.safetensors", "cannot be read"), put(sparsify), cut),
    sae("an SAE as a pickle", Refused("pickle"), lambda place: place.write("saes/layers.1/ae.pt", b"\x80\x04")),
]  # fmt: skip
