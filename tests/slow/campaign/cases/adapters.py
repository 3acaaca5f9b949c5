"""Adapters that do not fit: names, halves, other kinds, another base, several in a folder."""

import json
import shutil

from campaign.case import Accepted, Case, Either, Refused
from campaign.cases.stores import _half, _json, _no, _tensors
from campaign.steps import fit, predict

W, C = "adapter/adapter_model.safetensors", "adapter/adapter_config.json"


def bad(name, prepare, *says, more=()):
    """An adapter that is refused."""
    return Case(name, (predict(Refused(*says), *more),), (prepare, _of_strangers), "fitted")


def read(name, prepare):
    """An adapter whose names can be paired in one way: refused, or read as what it was."""
    return Case(name, (predict(Either(Refused("adapter"), Accepted())),), (prepare, _of_strangers), "fitted")


def _of_strangers(place):
    """As if `fit` had left these files: it would see at once that they are not its own."""
    from madkit.runs.fitted import file_digest

    path = place.run / "fit.json"
    files = [file for file in (place.run / "adapter").rglob("*") if file.is_file()]
    digests = {file.relative_to(place.run / "adapter").as_posix(): file_digest(file) for file in files}
    path.write_text(json.dumps({**json.loads(path.read_text()), "files": {"adapter": digests}}))


def _renamed(old, new):
    return _tensors(W, lambda t: {k.replace(old, new): x for k, x in t.items()})


def _kept(part):
    return _tensors(W, lambda t: {k: x for k, x in t.items() if part not in k})


def _config(**values):
    return _json(C, lambda c: {**c, **values})


def _prompt_learning(kind):
    """An adapter of virtual tokens, as peft saves it."""

    def do(place):
        import peft
        from transformers import AutoModelForCausalLM

        shutil.rmtree(place.run / "adapter")
        base = AutoModelForCausalLM.from_pretrained(place.templates.base)
        model = peft.get_peft_model(base, getattr(peft, kind)(task_type="CAUSAL_LM", num_virtual_tokens=4))
        model.save_pretrained(place.run / "adapter")

    return do


def _peft(start, **config):
    """An adapter of another kind with random weights."""

    def do(place):
        import peft
        import torch
        from transformers import AutoModelForCausalLM

        shutil.rmtree(place.run / "adapter")
        base = AutoModelForCausalLM.from_pretrained(place.templates.base)
        model = peft.get_peft_model(base, getattr(peft, start)(task_type="CAUSAL_LM", **config))
        torch.manual_seed(1)
        with torch.no_grad():
            for p in model.parameters():
                if p.requires_grad:
                    p.add_(torch.randn_like(p) * 0.1)
        model.save_pretrained(place.run / "adapter")

    return do


def _resized(tokenizer):
    """An adapter whose trainer added tokens and saved the embedding with it."""

    def do(place):
        import peft
        from transformers import AutoModelForCausalLM, AutoTokenizer

        shutil.rmtree(place.run / "adapter")
        words = AutoTokenizer.from_pretrained(place.templates.base)
        words.add_special_tokens({"pad_token": "<pad>"})
        base = AutoModelForCausalLM.from_pretrained(place.templates.base)
        base.resize_token_embeddings(len(words) + 7)
        model = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"]))
        model.save_pretrained(place.run / "adapter", save_embedding_layers=True)
        if tokenizer:
            words.save_pretrained(place.run / "adapter")

    return do


def _two(place):
    folder = place.run / "adapter"
    for name in ("first", "second"):
        shutil.copytree(folder, place.root / "several" / name)


def _instead(what):
    def do(place):
        shutil.rmtree(place.run / "adapter")
        if what is not None:
            shutil.copytree(what(place), place.run / "adapter")

    return do


def _bin(place):
    import torch
    from safetensors.torch import load_file

    path = place.run / W
    torch.save(load_file(path), path.with_name("adapter_model.bin"))
    path.unlink()


def _nothing(place):
    return None


def _same_logits(place):
    """Both kinds of numbers, with the adapter and without, are those of transformers and peft themselves."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from madkit.store.feature_store import FeatureStore

    tokenizer = AutoTokenizer.from_pretrained(place.templates.base)
    base = AutoModelForCausalLM.from_pretrained(place.templates.base, dtype=torch.float32).eval()
    store = FeatureStore.current(place.run / "controls" / "activations")
    rows, control = store.read(store.sites[0], "test", 0, 3)
    prompts = store.rows.set_index("row").loc[rows.tolist(), "prompt"]
    layer = int(store.sites[0].rsplit(".", 1)[1])
    with torch.no_grad():
        for prompt, vector in zip(prompts, control, strict=True):
            ids = torch.tensor([tokenizer(prompt)["input_ids"]])
            plain = base(ids, output_hidden_states=True).hidden_states[layer][0, -1]
            if not torch.allclose(vector.float(), plain, atol=1e-3):
                return "wrong", f"the control is off the base by {float((vector - plain).abs().max()):.1e}"
        tuned = peft.PeftModel.from_pretrained(base, place.run / "adapter").eval()
        answers = FeatureStore.current(place.run / "features" / "answers")
        rows, logits = answers.read("logits", "test", 0, 3)
        for row, pair in zip(rows.tolist(), logits, strict=True):
            line = answers.rows.set_index("row").loc[row]
            ids = tokenizer(line["prompt"])["input_ids"]
            places = [tokenizer(line["prompt"] + choice)["input_ids"][len(ids)] for choice in line["choices"]]
            right = tuned(torch.tensor([ids])).logits[0, -1][places]
            if not torch.allclose(pair.float(), right, atol=1e-3):
                return "wrong", f"answers are off the tuned model by {float((pair - right).abs().max()):.1e}"
    return None


def rewritten(name, lora, start="fitted"):
    """Whatever becomes of such a LoRA: refused, or the control is the base and the rest is the tuned model."""
    how = fit(Either(Refused("reference|control|lora"), Accepted()), "--model.lora", json.dumps(lora))
    return Case(name, (how, predict(Either(Refused("reference|control|adapter|fit"), Accepted(_same_logits)))))


LORA = {"r": 2, "target_modules": ["q_proj", "v_proj"]}

CASES = [
    bad("three of its tensors", _tensors(W, lambda t: dict(list(t.items())[:3])), "adapter", "lacks|missing|without|not in"),
    bad("one tensor is missing", _tensors(W, lambda t: dict(list(t.items())[:-1])), "adapter", "lacks|missing|without|not in"),
    bad("no tensors", _tensors(W, lambda t: {}), "adapter"),
    bad("no B halves", _kept("lora_B"), "adapter", "lora_B"),
    bad("no A halves", _kept("lora_A"), "adapter", "lora_A"),
    bad("a layer is missing", _kept("layers.1."), "adapter", r"layers\.1"),
    bad("the embedding's part is missing", _kept("embed"), "adapter", "embed"),
    read("names of a model that nests deeper", _renamed("model.model.layers", "model.model.language_model.layers")),
    read("names of torch.compile", _renamed("base_model.model.", "base_model.model._orig_mod.")),
    read("names of DDP", _renamed("base_model.model.", "module.base_model.model.")),
    read("names of another adapter", _renamed("lora_A.", "lora_A.other.")),
    read("names without peft's prefix", _renamed("base_model.model.", "")),
    bad("tensors of a layer too many", _tensors(W, lambda t: {**t, **{k.replace("layers.1.", "layers.7."): x.clone() for k, x in t.items() if "layers.1." in k}}), "adapter", r"layers\.7"),
    bad("a tensor that belongs to nothing", _tensors(W, lambda t: {**t, "base_model.model.score.weight": next(iter(t.values())).clone()}), "adapter", "score"),
    bad("ranks that the config does not say", _config(r=4), "adapter", r"\br\b|rank|shape|size"),
    bad("transposed tensors", _tensors(W, lambda t: {k: x.T for k, x in t.items()}), "adapter", "shape|size"),
    bad("NaN in a tensor", _tensors(W, lambda t: {k: x * float("nan") for k, x in t.items()}), "adapter", "NaN|finite"),
    bad("infinity in one number", _tensors(W, lambda t: {k: x.index_fill(0, x.new_zeros(1).long(), float("inf")) if i == 3 else x for i, (k, x) in enumerate(t.items())}), "adapter", "inf|finite"),
    bad("tensors of integers", _tensors(W, lambda t: {k: x.int() for k, x in t.items()}), "adapter", "int|number|type"),
    bad("layers_to_transform drops layers", _config(layers_to_transform=[0]), "adapter", "layers|lora"),
    bad("target_modules drops a module", _config(target_modules=["q_proj", "v_proj"]), "adapter", "k_proj|o_proj|embed|target"),
    bad("target_modules names one more", _config(target_modules=["embed_tokens", "q_proj", "k_proj", "v_proj", "o_proj", "up_proj"]), "adapter", "up_proj"),
    bad("target_modules of another family", _config(target_modules=["query_key_value"]), "adapter", "query_key_value"),
    bad("modules_to_save that were not saved", _config(modules_to_save=["lm_head"]), "adapter", "lm_head"),
    bad("DoRA without its magnitudes", _config(use_dora=True), "adapter", "magnitude|dora"),
    read("biases of a model that has none", _config(bias="lora_only")),
    bad("a kind that does not exist", _config(peft_type="LORRA"), "adapter", "LORRA"),
    bad("no kind at all", _json(C, lambda c: {k: v for k, v in c.items() if k != "peft_type"}), "adapter", "peft_type"),
    bad("prompt tuning", _prompt_learning("PromptTuningConfig"), "adapter", "PROMPT_TUNING|prompt"),
    bad("prefix tuning", _prompt_learning("PrefixTuningConfig"), "adapter", "PREFIX_TUNING|prefix"),
    bad("P-tuning", _prompt_learning("PromptEncoderConfig"), "adapter", "P_TUNING|prompt"),
    bad("adaption prompt", _config(peft_type="ADAPTION_PROMPT"), "adapter"),
    bad("a task that is no language model", _config(task_type="SEQ_CLS"), "adapter", "SEQ_CLS|task"),
    bad("a base of another name", _config(base_model_name_or_path="somebody/another-model"), "adapter", "somebody/another-model|base"),
    Case("another base of the same shapes", (predict(Refused("base", "base-2"), "--model.base", "@templates/base-2"),), (), "fitted"),
    bad("half its tensors' file", lambda p: (p.run / W).write_bytes(_half((p.run / W).read_bytes())), "adapter_model.safetensors|adapter'"),
    bad("an empty file of tensors", lambda p: (p.run / W).write_bytes(b""), "adapter_model.safetensors|adapter'"),
    bad("half a config", lambda p: (p.run / C).write_bytes(_half((p.run / C).read_bytes())), "adapter_config.json|adapter'"),
    bad("an empty config", lambda p: (p.run / C).write_bytes(b""), "adapter_config.json|adapter'"),
    bad("a config that is a list", lambda p: (p.run / C).write_bytes(b"[]"), "adapter_config.json|adapter'"),
    bad("no config", _no(C), "adapter_config.json|adapter'"),
    bad("no tensors' file", _no(W), "adapter_model|adapter'"),
    bad("a pickle", _bin, "adapter", "safetensors|pickle|bin"),
    bad("an empty folder", lambda p: [_no("adapter")(p), (p.run / "adapter").mkdir()], "adapter"),
    bad("no adapter", _no("adapter"), "adapter", "fit|--model.adapter"),
    bad("a path that is not there", _nothing, "adapter", "nowhere", more=("--model.adapter", "./nowhere")),
    bad("a checkpoint's path", _nothing, "adapter", "checkpoints", more=("--model.adapter", "runs/addition/checkpoints")),
    bad("a file of tensors as path", _nothing, "adapter", "adapter_model", more=("--model.adapter", f"runs/addition/{W}")),
    bad("several in a folder", _two, "several", "first", more=("--model.adapter", "several")),
    bad("a merged model", _instead(lambda p: p.templates.base), "adapter", "none"),
    bad("a whole model of another seed", _instead(lambda p: p.templates.other_base), "adapter", "none"),
    Case("an embedding that was resized, with its tokenizer", (predict(Either(Refused("embedding|token|reference|control"), Accepted())),), (_resized(True), _of_strangers), "fitted"),
    Case("an embedding that was resized, without its tokenizer", (predict(Either(Refused("embedding|token|reference|control"), Accepted())),), (_resized(False), _of_strangers), "fitted"),
    Case("LoRA of rank-stabilised scale", (predict(Accepted(_same_logits)),), (_peft("LoraConfig", r=4, use_rslora=True, target_modules=["q_proj", "down_proj"]), _of_strangers), "fitted"),
    Case("DoRA", (predict(Either(Refused("reference|control|dora"), Accepted(_same_logits))),), (_peft("LoraConfig", r=2, use_dora=True, target_modules=["q_proj"]), _of_strangers), "fitted"),
    Case("IA3", (predict(Either(Refused("adapter", "IA3"), Accepted(_same_logits))),), (_peft("IA3Config", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]), _of_strangers), "fitted"),
    Case("LoHa", (predict(Either(Refused("adapter", "LOHA"), Accepted(_same_logits))),), (_peft("LoHaConfig", r=2, target_modules=["q_proj"]), _of_strangers), "fitted"),
    Case("VeRA", (predict(Either(Refused("adapter", "VERA"), Accepted(_same_logits))),), (_peft("VeraConfig", r=2, target_modules=["q_proj"]), _of_strangers), "fitted"),
    Case("LoRA with the unembedding saved whole", (predict(Either(Refused("lm_head|control|reference"), Accepted(_same_logits))),), (_peft("LoraConfig", r=2, target_modules=["q_proj"], modules_to_save=["lm_head"]), _of_strangers), "fitted"),
    Case("layer norms tuned", (predict(Either(Refused("LN_TUNING|control|reference|adapter"), Accepted(_same_logits))),), (_peft("LNTuningConfig", target_modules=["input_layernorm"]), _of_strangers), "fitted"),
    Case("an adapter saved in float16", (predict(Accepted(_same_logits)),), (_tensors(W, lambda t: {k: x.half() for k, x in t.items()}), _of_strangers), "fitted"),
    rewritten("PiSSA", {**LORA, "init_lora_weights": "pissa"}),
    rewritten("PiSSA by iterations", {**LORA, "init_lora_weights": "pissa_niter_4"}),
    rewritten("OLoRA", {**LORA, "init_lora_weights": "olora"}),
    rewritten("CorDA", {**LORA, "init_lora_weights": "corda"}),
    rewritten("trained biases", {**LORA, "bias": "all"}),
    rewritten("trained biases of LoRA's own layers", {**LORA, "bias": "lora_only"}),
    rewritten("Gaussian start", {**LORA, "init_lora_weights": "gaussian"}),
    rewritten("DoRA that is trained", {**LORA, "use_dora": True}),
    rewritten("a LoRA with the unembedding trained", {**LORA, "modules_to_save": ["lm_head"]}),
]  # fmt: skip
