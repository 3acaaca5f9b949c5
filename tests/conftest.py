"""Small models of the real architectures, made on the spot: what the recipes name, but a million times smaller."""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no failure.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# What is imported until all tests have been found is most of a million objects that stay: the collector would look
# through them again and again, a fifth of that time, and in each of its full turns afterwards.
gc.disable()

# What a power failure would take is not looked at here, and a file waits longer for the disk than it takes to write.
os.fsync = lambda descriptor: None

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing in the tests may come from the network
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
if os.environ.get("MADKIT_CARD") != "cuda":
    # sparsify takes Triton where that is installed, as with a torch for CUDA, and Triton fails where there is no card.
    os.environ.setdefault("SPARSIFY_DISABLE_TRITON", "1")

ARCHITECTURES = {
    "llama": {"model_type": "llama", "num_key_value_heads": 2},
    "mistral": {"model_type": "mistral", "num_key_value_heads": 2, "sliding_window": None},
    "gpt_neox": {"model_type": "gpt_neox"},
}
SIZE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 5, "num_attention_heads": 4}


def pytest_addoption(parser):
    parser.addoption("--every-change", action="store_true", help="kill the stages before each change they make on disk")


#: What takes longest, and therefore begins first: then no worker is left alone with it at the end.
SLOWEST = ("project/test_recipes.py", "project/test_processes.py", "poser/test_module.py", "figures/")


def pytest_collection_finish():
    """From here on, collect only what comes."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items):
    """Say in which order files begin."""
    with_models = {item.path for item in items if "bases" in getattr(item, "fixturenames", ())}

    def turn(item):
        slow = [place for place, name in enumerate(SLOWEST) if f"tests/{name}" in item.path.as_posix()]
        return (slow or [len(SLOWEST) + (item.path not in with_models)])[0]

    items.sort(key=turn)


def byte_level_tokenizer(texts):
    """A byte-level BPE tokenizer with a begin-of-text token, shaped like Llama 3's."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|begin_of_text|>", "<|end_of_text|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A",
        special_tokens=[("<|begin_of_text|>", tokenizer.token_to_id("<|begin_of_text|>"))],
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=specials[0], eos_token=specials[1])


def make_base(folder: Path, architecture: str, seed: int = 0) -> Path:
    """A model folder with random weights and a tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    texts = ["Name: Alice\nContext: \nStatement: 12 + 34 = 46\nQuestion: Is the statement true?\nAnswer: Yes No"] * 20
    tokenizer = byte_level_tokenizer(texts)
    torch.manual_seed(seed)
    config = AutoConfig.for_model(**ARCHITECTURES[architecture], **SIZE, vocab_size=len(tokenizer))
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():  # sharper than the usual initialisation, so that features and logits differ between prompts
        for p in model.parameters():
            if p.ndim == 2:
                p.mul_(8)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def bases(tmp_path_factory):
    """Model folders by architecture."""
    root = tmp_path_factory.mktemp("bases")
    return {name: make_base(root / name, name) for name in ARCHITECTURES}


@pytest.fixture(scope="session")
def fit_encoders(tmp_path_factory):
    """A function that trains the flow and the SAE of a model's recipes for a few steps into `<runs>/flow` and `sae`."""
    from stage_words import UNDRAWN, lm_recipe, stage_recipes

    from madkit.cli.command import main

    texts = tmp_path_factory.mktemp("texts")
    (texts / "a.txt").write_text("".join(f"Statement: {i} + {i} = {2 * i}\n" for i in range(400)))
    short = ["--trainer.max_steps", "4", "--trainer.val_check_interval", "2", "--data.texts.batch_size", "16"]
    short += ["--data.statistics_batches", "4", "--data.texts.n_validation", "8", *UNDRAWN]

    def fit(model, base, runs):
        few = [*short, "--data.base", str(base)]
        if model.startswith("tiny-"):
            few += ["--data.texts.tasks", '{"addition": {"max": 99}, "hemisphere": {"words": 1}}']
        else:  # the layers and texts of the real models are not at hand
            few += ["--data.layers", "[2, 3]", "--data.texts.source", str(texts), "--data.texts.name", "null"]
        for kind in ("flow", "sae"):
            small = ["--model.hidden", "16"] if kind == "flow" else []
            words = [*stage_recipes(model, kind), *lm_recipe(model), "--run", str(Path(runs) / kind)]
            assert main(["fit", *words, *few, *small]) == 0

    return fit
