"""Base models: weights that are not all there, families whose logits are more than a matrix, tokenizers that do not fit."""

import itertools
import json

from campaign.case import Accepted, Case, Either, Refused
from campaign.place import FIT
from campaign.steps import fit, predict

_DATA = tuple(
    word for option, word in itertools.pairwise(FIT) if option.startswith("--data") for word in (option, word)
)
_READ = ("--lm", "@recipes/tiny-llama.yaml", "--model.adapter", "none", "--model.controls", "[]", *_DATA)


def _weights(change):
    """A base whose tensors are changed."""

    def do(place):
        from safetensors.torch import load_file, save_file

        path = place.copy_base("bad") / "model.safetensors"
        save_file({k: x.contiguous() for k, x in change(load_file(path)).items()}, path, metadata={"format": "pt"})

    return do


def _file(name, change):
    """A base of which one file is changed, or removed where `change` is None."""

    def do(place):
        path = place.copy_base("bad") / name
        path.unlink() if change is None else path.write_bytes(change(path.read_bytes()))

    return do


def _config(**values):
    return _file("config.json", lambda c: json.dumps({**json.loads(c), **values}).encode())


def bad(name, prepare, *says):
    """A base that is refused, by `fit`."""
    return Case(name, (fit(Refused(*says), "--model.base", "bad"),), (prepare,))


def _half(content):
    return content[: len(content) // 2]


def _empty(content):
    return b""


def _make(change_tokenizer=None, vocab=None, **config):
    """A small model of another family with sharp random weights."""

    def do(place):
        import conftest
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        words = ["Name: Alice\nStatement: 12 + 34 = 46\nQuestion: Is the statement true?\nAnswer: Yes No"] * 20
        tokenizer = conftest.byte_level_tokenizer(words)
        if change_tokenizer is not None:
            tokenizer = change_tokenizer(tokenizer)
        torch.manual_seed(0)
        options = {
            "vocab_size": vocab or len(tokenizer) + 16,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 1,
            **config,
        }
        lm = AutoModelForCausalLM.from_config(AutoConfig.for_model(**options))
        with torch.no_grad():
            for name, p in lm.named_parameters():
                if p.ndim >= 2:
                    p.mul_(8)
                elif name.endswith("bias"):
                    p.normal_(0, 0.1)
        lm.save_pretrained(place.root / "family")
        tokenizer.save_pretrained(place.root / "family")

    return do


def _same_logits(place):
    """The answers' logits and the states are those of the model's own forward pass, one prompt at a time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from madkit.store.feature_store import FeatureStore

    folder = place.root / "family"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lm = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    answers = FeatureStore.current(place.run / "features" / "answers")
    rows, logits = answers.read("logits", "test", 0, 4)
    lines = answers.rows.set_index("row")
    for row, pair in zip(rows.tolist(), logits, strict=True):
        ids = tokenizer(lines.loc[row, "prompt"])["input_ids"]
        places = [
            tokenizer(lines.loc[row, "prompt"] + choice)["input_ids"][len(ids)] for choice in lines.loc[row, "choices"]
        ]
        with torch.no_grad():
            right = lm(torch.tensor([ids]), use_cache=False).logits[0, -1][places].float()
        if not torch.allclose(pair.float(), right, atol=2e-3, rtol=2e-3):
            return "wrong", f"logits {pair.tolist()}, and of the model's own forward pass {right.tolist()}"
    return None


def family(name, **config):
    """A family is read with the model's own logits, or refused in a line."""
    how = predict(
        Either(Accepted(_same_logits), Refused(name.split()[0], "model|layers|logits")),
        *_READ,
        "--model.base",
        "family",
    )
    return Case(f"the family {name}", (how,), (_make(model_type=name.split()[0], **config),))


def trained(name, lora, **config):
    """A family is tuned and then read, or refused in a line."""
    options = ("--model.base", "family", "--model.lora", json.dumps({"r": 2, "target_modules": lora}))
    how = fit(Either(Accepted(), Refused(name.split()[0], "model|layers|logits|lora")), *options)
    return Case(f"tuning the family {name}", (how,), (_make(model_type=name.split()[0], **config),))


SIZE = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
GQA = {**SIZE, "num_key_value_heads": 1, "head_dim": 8}


def _pad(tokenizer):
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    return tokenizer


def _right(tokenizer):
    tokenizer.padding_side = "right"
    return tokenizer


def _words(unknown):
    """A tokenizer of whole words, of which Yes is none."""

    def do(place):
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        folder = place.copy_base("bad")
        known = ["[UNK]", "<s>", "</s>", "No", "maybe"] if unknown else ["[UNK]", "<s>", "</s>", "No", "Yes"]
        words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(known)}, unk_token="[UNK]"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        new = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", bos_token="<s>", eos_token="</s>")
        new.save_pretrained(folder)

    return do


def _sharded(change):
    """A base in two files with an index."""

    def do(place):
        from safetensors.torch import load_file, save_file

        folder = place.copy_base("bad")
        tensors = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        names = sorted(tensors)
        parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
        for file, some in parts.items():
            save_file({k: tensors[k].contiguous() for k in some}, folder / file, metadata={"format": "pt"})
        index = {"metadata": {"total_size": 1}, "weight_map": {k: file for file, some in parts.items() for k in some}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        change(folder)

    return do


def _pickled(folder):
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _bert(place):
    from transformers import BertConfig, BertModel

    folder = place.copy_base("bad")
    for file in folder.glob("*.safetensors"):
        file.unlink()
    config = BertConfig(
        vocab_size=400, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24
    )
    BertModel(config).save_pretrained(folder)


CASES = [
    bad("a layer's tensors are missing", _weights(lambda t: {k: x for k, x in t.items() if "layers.2." not in k}), "bad", r"layers\.2"),
    bad("one tensor is missing", _weights(lambda t: {k: x for k, x in t.items() if "layers.1.mlp.up_proj" not in k}), "bad", "up_proj"),
    bad("the unembedding is missing", _weights(lambda t: {k: x for k, x in t.items() if "lm_head" not in k}), "bad", "lm_head"),
    bad("the last norm is missing", _weights(lambda t: {k: x for k, x in t.items() if k != "model.norm.weight"}), "bad", "norm"),
    bad("no tensors", _weights(lambda t: {}), "bad"),
    bad("tensors of another name", _weights(lambda t: {f"transformer.{k}": x for k, x in t.items()}), "bad", "transformer|missing|lack|not in its files"),
    bad("tensors of torch.compile", _weights(lambda t: {f"_orig_mod.{k}": x for k, x in t.items()}), "bad", "_orig_mod|missing|lack|not in its files"),
    bad("a tensor of another shape", _weights(lambda t: {k: x[:-1] if "up_proj" in k else x for k, x in t.items()}), "bad", "up_proj|shape|size"),
    bad("a layer more than the config says", _config(num_hidden_layers=2), "bad", r"layers\.2|num_hidden_layers"),
    bad("a layer less than the config says", _config(num_hidden_layers=4), "bad", r"layers\.3"),
    bad("NaN in a weight", _weights(lambda t: {k: x * float("nan") if "layers.1.mlp.up" in k else x for k, x in t.items()}), "base|bad", "NaN|finite", "!lower the learning rate"),
    bad("infinity in a weight", _weights(lambda t: {k: x * float("inf") if "layers.1.mlp.up" in k else x for k, x in t.items()}), "base|bad", "NaN|inf|finite", "!lower the learning rate"),
    bad("half its tensors' file", _file("model.safetensors", _half), "bad", "safetensors|weights"),
    bad("an empty file of tensors", _file("model.safetensors", _empty), "bad", "safetensors|weights"),
    bad("no file of tensors", _file("model.safetensors", None), "bad", "safetensors|weights|holds no"),
    bad("a pickle in place of safetensors", lambda p: _pickled(p.copy_base("bad")), "bad", "safetensors|pickle|bin"),
    bad("half a config", _file("config.json", _half), "bad", "config"),
    bad("an empty config", _file("config.json", _empty), "bad", "config"),
    bad("a config that is a list", _file("config.json", lambda c: b"[]"), "bad", "config"),
    bad("no config", _file("config.json", None), "bad", "config"),
    bad("a family that does not exist", _config(model_type="lama"), "bad", "lama"),
    bad("a config without its family", _file("config.json", lambda c: json.dumps({k: v for k, v in json.loads(c).items() if k not in ("model_type", "architectures")}).encode()), "bad", "model_type|config"),
    bad("code that comes with the model", _file("config.json", lambda c: json.dumps({**json.loads(c), "model_type": "mine", "auto_map": {"AutoModelForCausalLM": "evil.Evil", "AutoConfig": "evil.Config"}}).encode()), "bad", "trust_remote_code|mine|custom code"),
    bad("heads that do not divide the width", _config(num_attention_heads=3, num_key_value_heads=3), "bad", "head|size|shape"),
    bad("a tokenizer that is half there", _file("tokenizer.json", _half), "bad", "tokenizer"),
    bad("an empty tokenizer", _file("tokenizer.json", _empty), "bad", "tokenizer"),
    bad("no tokenizer", lambda p: [f.unlink() for f in p.copy_base("bad").glob("tokenizer*")], "bad", "tokenizer"),
    bad("an index that names a file too many", _sharded(lambda f: (f / "model-00002-of-00002.safetensors").unlink()), "bad", "00002|missing|lack"),
    bad("an index of files elsewhere", _sharded(lambda f: (f / "model.safetensors.index.json").write_text((f / "model.safetensors.index.json").read_text().replace("model-00002", "../model-00002"))), "bad", r"\.\./|index|model-00002|lack|missing"),
    bad("an index that is half there", _sharded(lambda f: (f / "model.safetensors.index.json").write_bytes(_half((f / "model.safetensors.index.json").read_bytes()))), "bad", "index"),
    bad("an encoder without a head", _bert, "bad", "bert|causal|not in its files"),
    bad("an answer that is no word of the tokenizer", _words(True), "Yes", "UNK|unknown"),
    bad("a tokenizer that knows two words", _words(False), "UNK|unknown|token"),
    Case("answers that share their first token", (fit(Refused("token", "choices|answers"), "--data.template", "same.yaml"),), (lambda p: p.write("same.yaml", 'template: "{name}: {op1} + {op2} = {result}?"\nchoices: [" Nope", " No"]\n'),)),
    Case("answers that begin with the same letters", (fit(Either(Accepted(), Refused("token", "choices|answers")), "--data.template", "same.yaml"),), (lambda p: p.write("same.yaml", 'template: "{name}: {op1} + {op2} = {result}?"\nchoices: [" 12", " 1"]\n'),)),
    Case("a base in two files", (fit(Accepted(), "--model.base", "bad"),), (_sharded(lambda f: None),)),
    Case("a base that is an adapter", (fit(Refused("base", "adapter"), "--model.base", "runs/addition/adapter"),), (), "fitted"),
    Case("a base that is not there", (fit(Refused("base", "nowhere"), "--model.base", "./nowhere"),)),
    Case("a base of the hub without a network", (fit(Refused("base", "somebody/some-model"), "--model.base", "somebody/some-model"),)),
    Case("a base that is a file", (fit(Refused("base", "model.safetensors"), "--model.base", "@base/model.safetensors"),)),
    Case("an empty name of a base", (fit(Refused("base"), "--model.base", ""),)),
    Case("padding outside the embedding", (predict(Either(Accepted(_same_logits), Refused("token|embedding|pad")), *_READ, "--model.base", "family"),), (_make(_pad, vocab=400, model_type="llama", **SIZE),)),
    Case("a tokenizer that pads on the right", (predict(Accepted(_same_logits), *_READ, "--model.base", "family"),), (_make(_right, model_type="llama", **SIZE),)),
    Case("more tokens than the embedding has rows", (predict(Refused("token", "embedding|vocab"), *_READ, "--model.base", "family"),), (_make(vocab=60, model_type="llama", **SIZE),)),
    Case("prompts beyond the position table", (predict(Refused("position|max_length|long"), *_READ, "--model.base", "family"),), (_make(model_type="gpt2", n_embd=16, n_layer=3, n_head=2, n_positions=12),)),
    Case("prompts beyond learned positions of OPT", (predict(Refused("position|max_length|long"), *_READ, "--model.base", "family"),), (_make(model_type="opt", hidden_size=16, ffn_dim=24, num_hidden_layers=3, num_attention_heads=2, max_position_embeddings=12, word_embed_proj_dim=16),)),
    family("gemma", **GQA),
    family("gemma2 with soft caps", **GQA),
    family("gemma3_text", sliding_window=8, **GQA),
    family("cohere", logit_scale=0.0625, **{**SIZE, "num_key_value_heads": 1}),
    family("granite", logits_scaling=8.0, embedding_multiplier=12.0, residual_multiplier=0.2, attention_multiplier=0.1, **{**SIZE, "num_key_value_heads": 1}),
    family("olmo2", **{**SIZE, "num_key_value_heads": 1}),
    family("qwen2", **{**SIZE, "num_key_value_heads": 1}),
    family("qwen3", **GQA),
    family("phi", **SIZE),
    family("phi3", **{**SIZE, "num_key_value_heads": 1}),
    family("gptj with a bias at the end", n_embd=16, n_layer=3, n_head=2, rotary_dim=8),
    family("gpt2", n_embd=16, n_layer=3, n_head=2),
    family("gpt_neox", **SIZE),
    family("bloom", hidden_size=16, n_layer=3, n_head=2),
    family("mpt", d_model=16, n_layers=3, n_heads=2),
    family("opt", hidden_size=16, ffn_dim=24, num_hidden_layers=3, num_attention_heads=2, word_embed_proj_dim=16),
    family("falcon", hidden_size=16, num_hidden_layers=3, num_attention_heads=2),
    family("mixtral", num_local_experts=2, **{**SIZE, "num_key_value_heads": 1}),
    family("starcoder2", **{**SIZE, "num_key_value_heads": 1}),
    family("stablelm", **{**SIZE, "num_key_value_heads": 1}),
    family("nemotron", **{**GQA}),
    family("mamba", hidden_size=16, num_hidden_layers=3, state_size=4),
    family("helium", **GQA),
    family("glm", **GQA),
    trained("phi3", ["qkv_proj"], **{**SIZE, "num_key_value_heads": 1}),
    trained("bloom", ["query_key_value"], hidden_size=16, n_layer=3, n_head=2),
    trained("gpt2", ["c_attn"], n_embd=16, n_layer=3, n_head=2),
    trained("gemma2", ["q_proj"], **GQA),
    trained("falcon", ["query_key_value"], hidden_size=16, num_hidden_layers=3, num_attention_heads=2),
    *(
        Case(
            f"LoRA of Llama's names on {name}",
            (fit(Refused("target_modules", "lora|q_proj"), "--model.base", "family"),),
            (_make(model_type=name, **config),),
        )
        for name, config in {
            "phi3": {**SIZE, "num_key_value_heads": 1},
            "opt": {"hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "word_embed_proj_dim": 16},
            "gpt2": {"n_embd": 16, "n_layer": 3, "n_head": 2},
        }.items()
    ),
]  # fmt: skip
