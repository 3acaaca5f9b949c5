"""Stores, checkpoints and marks that are damaged, missing, edited or somebody else's."""

import json
import pickle
import shutil

from campaign.case import Case, Either, Refused
from campaign.finished import FITTED, PREDICTED, TESTED
from campaign.steps import command, fit, predict, test


def _files(place, pattern):
    found = sorted(place.run.glob(pattern))
    assert found, pattern
    return found


def _bytes(pattern, change):
    """Change the content of files."""

    def do(place):
        for path in _files(place, pattern):
            path.write_bytes(change(path.read_bytes()))

    return do


def _json(pattern, change):
    """Change what JSON files hold."""

    def do(place):
        for path in _files(place, pattern):
            path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return do


def _tensors(pattern, change):
    """Change the tensors of safetensors files."""

    def do(place):
        from safetensors.torch import load_file, save_file

        for path in _files(place, pattern):
            tensors = change(load_file(path))
            save_file({name: x.contiguous() for name, x in tensors.items()}, path)

    return do


def _rows(change, pattern="features/activations/*/rows.parquet", *, checksums=False):
    """Change a table; with new checksums, as a stranger would who knows of them."""

    def do(place):
        import pandas as pd

        for path in _files(place, pattern):
            change(pd.read_parquet(path)).to_parquet(path, index=False, write_page_checksum=checksums)

    return do


def _flip(content):
    changed = bytearray(content)
    for i in range(len(content) // 2, len(content), 64):
        changed[i] ^= 1
    return bytes(changed)


def _flip_one(content):
    changed = bytearray(content)
    changed[-5] ^= 4
    return bytes(changed)


def _half(content):
    return content[: len(content) // 2]


def _empty(content):
    return b""


def _noise(content):
    return b"\x93noise" + bytes(99)


def _swap(place):
    a, b = _files(place, "features/activations/*/shard-0000[01].safetensors")
    x, y = a.read_bytes(), b.read_bytes()
    a.write_bytes(y)
    b.write_bytes(x)


def _no(pattern):
    def do(place):
        for path in _files(place, pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return do


def store(name, prepare, *says):
    """`test` refuses, and `predict` makes the store again (which is tried where a file is not whole)."""
    steps = [test(Refused(*says))]
    if any(word in name for word in ("flipped", "empty", "gone", "half", "noise", "less")):
        steps.append(predict(Either(PREDICTED, Refused(*says, "delete"))))
    return Case(name, tuple(steps), (prepare,), "predicted")


SHARD, A = "features/activations/*/shard-00000.safetensors", "features/activations/*"


def _first(**values):
    def change(manifest):
        manifest["shards"][0].update(values)
        return manifest

    return change


class _Evil:
    """What a pickle must not be able to do."""

    def __reduce__(self):
        import os

        return (os.system, ("touch escaped",))


def _pickle(pattern):
    return _bytes(pattern, lambda content: pickle.dumps({"state_dict": _Evil(), "epoch": 1}))


def _others(place):
    """The store of another base's numbers under the name of this one."""
    for path in _files(place, SHARD):
        from safetensors.torch import load_file, save_file

        save_file({k: (x + 1 if x.is_floating_point() else x) for k, x in load_file(path).items()}, path)


CASES = [
    store("bits flipped in one shard", _bytes(SHARD, _flip), "shard-00000"),
    store("one bit flipped in one shard", _bytes(SHARD, _flip_one), "shard-00000"),
    store("one bit flipped in a control's shard", _bytes("controls/activations/*/shard-00003.safetensors", _flip_one), "shard-00003"),
    store("one bit flipped in the answers", _bytes("features/answers/*/shard-00003.safetensors", _flip_one), "shard-00003"),
    store("a shard of other numbers", _others, "shard-00000"),
    store("two shards swapped", _swap, "shard-0000[01]"),
    store("an empty shard", _bytes(SHARD, _empty), "shard-00000"),
    store("half a shard", _bytes(SHARD, _half), "shard-00000"),
    store("a shard of noise", _bytes(SHARD, _noise), "shard-00000"),
    store("a shard that is gone", _no(SHARD), "shard-00000"),
    store("a shard with a row less", _tensors(SHARD, lambda t: {k: x[:-1] for k, x in t.items()}), "shard-00000"),
    store("a shard without a site", _tensors(SHARD, lambda t: dict(list(t.items())[:-1])), "shard-00000"),
    store("a shard with NaN", _tensors(SHARD, lambda t: {k: x * float("nan") if x.is_floating_point() else x for k, x in t.items()}), "shard-00000|activations"),
    store("a shard with other row numbers", _tensors(SHARD, lambda t: {k: x + 7 if k == "row" else x for k, x in t.items()}), "shard-00000"),
    store("an empty table of prompts", _bytes(f"{A}/rows.parquet", _empty), "rows.parquet"),
    store("half a table of prompts", _bytes(f"{A}/rows.parquet", _half), "rows.parquet"),
    store("a table of prompts that is gone", _no(f"{A}/rows.parquet"), "rows.parquet"),
    store("a table of prompts with other labels", _rows(lambda t: t.assign(label=~t["label"].astype(bool))), "rows.parquet"),
    store("a table of prompts with other speakers", _rows(lambda t: t.assign(anomalous=~t["anomalous"].astype(bool))), "rows.parquet"),
    store("a table of prompts in another order", _rows(lambda t: t.iloc[::-1]), "rows.parquet"),
    store("a table of prompts with a row less", _rows(lambda t: t.iloc[:-1]), "rows.parquet"),
    Case("answers whose prompts have other labels", (test(Either(TESTED, Refused("rows.parquet"))),), ( _rows(lambda t: t.assign(anomalous=~t["anomalous"].astype(bool)), "features/answers/*/rows.parquet"),), "predicted"),
    store("an empty manifest", _bytes(f"{A}/manifest.json", _empty), "manifest.json"),
    store("half a manifest", _bytes(f"{A}/manifest.json", _half), "manifest.json"),
    store("a manifest that is a list", _bytes(f"{A}/manifest.json", lambda c: b"[]"), "manifest.json"),
    store("a manifest that is an empty object", _bytes(f"{A}/manifest.json", lambda c: b"{}"), "manifest.json|format"),
    store("a manifest of another format", _json(f"{A}/manifest.json", lambda m: {**m, "format": 99}), "format", "99"),
    store("a manifest with a shard less", _json(f"{A}/manifest.json", lambda m: {**m, "shards": m["shards"][1:]}), "manifest|shard|prompts"),
    store("a manifest with a negative count", _json(f"{A}/manifest.json", _first(count=-3)), "manifest|shard"),
    store("a manifest with shards of another split", _json(f"{A}/manifest.json", _first(split="test")), "manifest|shard|split"),
    store("a manifest with another seed", _json(f"{A}/manifest.json", lambda m: json.loads(json.dumps(m).replace('"seed": 0', '"seed": 1'))), "manifest|seed|identity|prompts"),
    store("a manifest without its sites", _json(f"{A}/manifest.json", lambda m: {k: v for k, v in m.items() if k != "sites"}), "manifest"),
    store("a mark of the current store that is empty", _bytes("features/activations/current.json", _empty), "current.json|no complete store"),
    store("a mark of the current store that is a list", _bytes("features/activations/current.json", lambda c: b"[]"), "current.json|no complete store"),
    store("a mark of the current store that names another", _json("features/activations/current.json", lambda m: {**m, "key": "0123456789abcdef"}), "0123456789abcdef|current.json"),
    store("a mark of the current store that is a number", _bytes("features/activations/current.json", lambda c: b"17"), "current.json|no complete store"),
    Case("an adapter trained anew under a store", (test(Refused("adapter", "madkit predict|madkit fit")),), (_tensors("adapter/adapter_model.safetensors", lambda t: {k: x * 2 for k, x in t.items()}),), "predicted"),
    Case("half a last.ckpt", (fit(Either(FITTED, Refused("last.ckpt", "delete"))),), (_no("fit.json"), _bytes("checkpoints/*/last.ckpt", _half)), "fitted"),
    Case("an empty last.ckpt", (fit(Either(FITTED, Refused("last.ckpt", "delete"))),), (_no("fit.json"), _bytes("checkpoints/*/last.ckpt", _empty)), "fitted"),
    Case("a last.ckpt of noise", (fit(Either(FITTED, Refused("last.ckpt", "delete"))),), (_no("fit.json"), _bytes("checkpoints/*/last.ckpt", _noise)), "fitted"),
    Case("a last.ckpt with bits flipped", (fit(Either(FITTED, Refused("last.ckpt", "delete"))),), (_no("fit.json"), _bytes("checkpoints/*/last.ckpt", _flip)), "fitted"),
    Case("a last.ckpt that is a malicious pickle", (fit(Either(FITTED, Refused("last.ckpt"))),), (_no("fit.json"), _pickle("checkpoints/*/last.ckpt")), "fitted"),
    Case("half a best.ckpt", (fit(Either(FITTED, Refused("best.ckpt", "delete"))),), (_no("fit.json"), _no("adapter"), _bytes("checkpoints/*/best.ckpt", _half)), "fitted"),
    Case("validate half a best.ckpt", (command(Refused("best.ckpt"), "validate", "--config", "@root/runs/addition/fit.yaml", "--run", "runs"),), (_bytes("checkpoints/*/best.ckpt", _half),), "fitted"),
    Case("validate a malicious pickle", (command(Refused("best.ckpt"), "validate", "--config", "@root/runs/addition/fit.yaml", "--run", "runs"),), (_pickle("checkpoints/*/best.ckpt"),), "fitted"),
    Case("continue from a malicious pickle", (fit(Refused("best.ckpt"), "--ckpt_path", "runs/addition/checkpoints/best.ckpt", "--seed_everything", "5"),), (_pickle("checkpoints/*/best.ckpt"), lambda p: [shutil.copy(f, p.run / "checkpoints" / "best.ckpt") for f in _files(p, "checkpoints/*/best.ckpt")]), "fitted"),
    Case("continue from safetensors", (fit(Refused("ckpt_path", "adapter_model"), "--ckpt_path", "runs/addition/adapter/adapter_model.safetensors", "--seed_everything", "5"),), (), "fitted"),
    Case("an empty fit.json", (fit(FITTED),), (_bytes("fit.json", _empty),), "fitted"),
    Case("half a fit.json", (fit(FITTED),), (_bytes("fit.json", _half),), "fitted"),
    Case("a fit.json of nothing", (fit(FITTED),), (_bytes("fit.json", lambda c: b"{}"),), "fitted"),
    Case("a fit.json that is a list", (fit(FITTED),), (_bytes("fit.json", lambda c: b"[]"),), "fitted"),
    Case("a fit.json of NUL bytes", (fit(FITTED),), (_bytes("fit.json", lambda c: bytes(len(c))),), "fitted"),
    Case("a fit.json whose result is elsewhere", (fit(FITTED),), (_json("fit.json", lambda m: {**m, "result": "../../.."}),), "fitted"),
    Case("half a fit.yaml", (predict(Refused("fit.yaml")),), (_bytes("fit.yaml", lambda c: c[:700] + b": ["),), "fitted"),
    Case("an empty fit.yaml", (predict(Refused("fit.yaml")),), (_bytes("fit.yaml", _empty),), "fitted"),
    Case("an empty predict.json", (predict(PREDICTED),), (_bytes("predict.json", _empty),), "predicted"),
    Case("an empty history", (command(Either(Refused("history.parquet")), "figures", "runs", "--out", "out", "--jobs", "1", "--formats", "svg"),), (_bytes("history.parquet", _empty),), "tested"),
    Case("figures of half a results.parquet", (command(Refused("results.parquet"), "figures", "runs", "--out", "out", "--jobs", "1"), test(TESTED)), (_bytes("detection/results.parquet", _half),), "tested"),
    Case("figures of an empty summary", (command(Refused("summary.json"), "figures", "runs", "--out", "out", "--jobs", "1"), test(TESTED)), (_bytes("detection/summary.json", _empty),), "tested"),
    Case("figures of a summary that is a list", (command(Refused("summary.json"), "figures", "runs", "--out", "out", "--jobs", "1"),), (_bytes("detection/summary.json", lambda c: b"[]"),), "tested"),
    Case("figures of results without a column", (command(Refused("results.parquet"), "figures", "runs", "--out", "out", "--jobs", "1"),), (_rows(lambda t: t.drop(columns=["auroc"]), "detection/results.parquet"),), "tested"),
]  # fmt: skip
