"""What madkit makes of a family of models is what plain transformers makes of it, a prompt at a time, without padding.

The families are those of docs/models.md, whose table is held against what is found here.
"""

import copy
import re
from contextlib import ExitStack
from pathlib import Path

import peft
import pytest
import torch
import transformers
from model_families import FAMILIES, make_family, prompts_of
from packaging.version import Version
from pins import PINNED
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from madkit.errors import ConfigError
from madkit.extraction.forward_pass import trace
from madkit.features import Activations, Answers, Attribution, ProbeShift
from madkit.lm import forward, loading
from madkit.lm.quirky_lm import QuirkyLM
from madkit.volume.prompt_volumes import PromptVolumes

WAY_OUT = "choose other weights by a regular expression"
#: Weights that are perturbed where `all` cannot be moved for one prompt alone.
PARTS = {"Mixtral": "self_attn", "Mamba": "in_proj"}
#: Where transformers up to 5.18 chooses attention that leaves soft caps out.
ATTENTION = {"Gemma 2": "eager"}


def load_plain(name, folder):
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation=ATTENTION.get(name)).eval()


@pytest.fixture(scope="module", params=FAMILIES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def folder(name, tmp_path_factory):
    folder = tmp_path_factory.mktemp("family")
    make_family(name).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def lm(folder):
    return loading.load_causal_lm(str(folder), dtype="float32").requires_grad_(False)


@pytest.fixture(scope="module")
def plain(name, folder):
    return load_plain(name, folder)


@pytest.fixture(scope="module")
def documented():
    """The rows of the table in docs/models.md: cells by the name of the family."""
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    return {row[0]: row[1:] for row in rows[1:]}


def close(ours, theirs, tolerance=1e-4):
    ours, theirs = ours.detach(), theirs.detach()
    assert float((ours - theirs).norm()) <= tolerance * float(theirs.norm()) and float(theirs.norm()) > 0


def plain_pass(plain, ids, names, points):
    """Logits of one prompt, and what enters the given layers and attention's output projections."""
    seen = {}

    def before(key):
        def hook(module, args, kwargs):
            x = args[0] if args else kwargs["hidden_states"]
            seen[key] = x if x.requires_grad else x.clone().requires_grad_()
            return ((seen[key], *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": seen[key]})

        return hook

    def after(module, args, output):
        seen["final"] = output[0] if isinstance(output, tuple) else output

    with ExitStack() as stack:
        for key in (*names, *points):
            handle = plain.get_submodule(key).register_forward_pre_hook(before(key), with_kwargs=True)
            stack.callback(handle.remove)
        stack.callback(plain.get_submodule(names[-1]).register_forward_hook(after).remove)
        return plain(input_ids=ids, use_cache=False).logits[0], seen


def test_features(name, lm, plain):
    family, (batch, prompts) = FAMILIES[name], prompts_of()
    names = [f"{family.layers}.{i}" for i in range(2)]
    points = [f"{layer}.{family.projection}" for layer in names] if family.projection else []
    features = [Activations(0, 1, final=True), Answers(), ProbeShift(0, 1)]
    if points:
        features.append(Attribution("zero", first=0, step=1))
    traces = trace(lm, features, {f.name: f.hookpoints(lm) for f in features}, batch)
    mean, direction = torch.randn(2, 16, generator=torch.Generator().manual_seed(2)).double()
    traces["probe"].learned = {f"{names[0]}.mean": mean, f"{names[1]}.direction": direction}
    found = {f.name: f(traces[f.name]) for f in features}
    assert list(found["activations"]) == [*names, f"{names[-1]}.output"]
    for row, ids in enumerate(prompts):
        logits, seen = plain_pass(plain, ids, names, points)
        for key, site in ((names[0], names[0]), (names[1], names[1]), ("final", f"{names[-1]}.output")):
            close(found["activations"][site][row], seen[key][0, -1])
        close(found["answers"]["logits"][row], logits[-1, [5, 9]])
        odds, read = logits[-1, 9] - logits[-1, 5], seen[names[1]][0, -1] @ direction.float()
        slopes = [torch.autograd.grad(x, seen[names[0]], retain_graph=True)[0][0, -1] for x in (read, odds)]
        shift = (mean.float() - seen[names[0]][0, -1]) @ (slopes[0] - slopes[1])
        close(found["probe"][names[1]][row], shift[None])
        for layer, point in zip(names, points, strict=bool(points)):
            (gradient,) = torch.autograd.grad(odds, seen[point], retain_graph=True)
            close(found["attribution_zero"][layer][row], -(seen[point] * gradient)[0, -1].view(2, -1).sum(1))


def test_training(name, folder, documented):
    """The loss before and after a step, of a fresh LoRA on what `auto` chooses."""
    batch, prompts = prompts_of()
    module = QuirkyLM(str(folder), {"r": 2, "lora_alpha": 16, "target_modules": "auto"}, dtype="float32")
    module.configure_model()
    ours = module.model.eval()
    theirs = peft.get_peft_model(load_plain(name, folder), copy.deepcopy(ours.peft_config["default"]))
    for model in (ours, theirs.eval()):
        torch.manual_seed(3)
        for key, p in model.named_parameters():
            if "lora_" in key:
                torch.nn.init.normal_(p, std=0.2)
    batch["padded"] = forward.checked_padding(module.lm, batch)
    losses = []
    for _ in range(2):
        logits = torch.stack([theirs(input_ids=ids, use_cache=False).logits[0, -1] for ids in prompts])
        losses.append((module.loss(batch), cross_entropy(logits, batch["answer"])))
        for model, loss in zip((ours, theirs), losses[-1], strict=True):
            trained = [p for p in model.parameters() if p.requires_grad]
            loss.backward()
            assert all(p.grad is not None and bool(p.grad.any()) for p in trained)
            torch.optim.SGD(trained, lr=0.02).step()
            model.zero_grad()
    for pair in losses:
        close(*pair)
    assert abs(float(losses[1][1] - losses[0][1])) > 1e-3
    reached = {*ours.base_model.targeted_module_names, *ours.base_model.targeted_parameter_names}
    on = sorted({key.removesuffix(".weight").split(".")[-1] for key in reached})
    assert documented[name][2] == ", ".join(f"`{part}`" for part in on)


def test_local_volume(name, lm, plain, documented):
    """Weights that are moved by a prompt's radius change what is said to it, alone, by the cutoff."""
    batch, prompts = prompts_of()
    weights = PARTS.get(name, "all")
    assert documented[name][4] == ("`all`" if weights == "all" else f"`{weights}`")
    if weights != "all":
        with pytest.raises(ConfigError, match=WAY_OUT):
            PromptVolumes(lm, directions=1).radii(batch)
    volumes = PromptVolumes(lm, weights, directions=1, cutoff=1e-3)
    radii = volumes.radii(batch).radii[:, 0]
    chosen = {key: p for key, p in plain.named_parameters() if re.search("" if weights == "all" else weights, key)}
    chosen = {key: p for key, p in chosen.items() if not re.search("vision|projector", key)}
    step = {key: volumes.directions[0].normals(key, torch.arange(p.numel())).view_as(p) for key, p in chosen.items()}
    length = torch.cat([x.flatten() for x in step.values()]).double().norm()
    kept = {key: p.detach().clone() for key, p in chosen.items()}
    with torch.no_grad():
        for ids, radius in zip(prompts, radii, strict=True):
            before = plain(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
            for key, p in chosen.items():
                p.add_(step[key] * float(radius / length))
            after = plain(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
            for key, p in chosen.items():
                p.copy_(kept[key])
            divergence = (before.exp() * (before - after)).sum(-1).mean()
            assert float(divergence) == pytest.approx(1e-3, rel=5e-3)


def test_table_of_models(name, lm, documented):
    """What a table in the documentation says of a family; of no other one it says anything."""
    assert set(documented) == set(FAMILIES)
    kind, attention, _, attribution, _ = documented[name][:5]
    assert kind == f"`{FAMILIES[name].kind}`"
    if Version(transformers.__version__) <= Version(PINNED["transformers"]):  # later ones may have a better one
        assert attention == f"`{loading.attention_of(lm)}`"
    assert attribution == ("yes" if FAMILIES[name].projection else "no")
    if attribution == "no":
        with pytest.raises(ConfigError, match="leave the feature out"):
            Attribution().hookpoints(lm)
