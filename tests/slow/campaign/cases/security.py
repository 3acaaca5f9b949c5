"""Recipes, stores, detectors and models from strangers: nothing of theirs runs, nothing leaves the run folder."""

import json
import pickle

from campaign.case import Accepted, Case, Either, Refused
from campaign.cases.stores import _files, _json, _no, _rows
from campaign.cases.user_files import ROWS, lines
from campaign.place import RECIPES
from campaign.steps import command, fit, predict, refit, test

_RECIPE = (
    (RECIPES / "tiny-llama.yaml").read_text().replace("data: tiny/prompts.yaml", f"data: {RECIPES}/tiny/prompts.yaml")
)
EVIL = "from pathlib import Path\nPath('escaped').write_text('x')\n\n\nclass Task:\n    pass\n\n\nclass Model:\n    pass\n\n\ndef call(*args):\n    pass\n"


def module(name, step_of):
    """A module of the working folder that a recipe names; a file that it writes would be outside of the run."""
    return Case(
        name,
        (step_of(Refused("evilmod|class|estimator|dataset|callback|optimizer")),),
        (lambda p: p.write("evilmod.py", EVIL),),
    )


def _with(old, new):
    assert old in _RECIPE

    def make(expect):
        return refit("@root/mine.yaml", expect)

    return make, (lambda p: p.write("mine.yaml", _RECIPE.replace(old, new, 1)))


def recipe(name, old, new, *says):
    """A recipe with a class from elsewhere."""
    make, write = _with(old, new)
    return Case(name, (make(Refused(*says)),), (lambda p: p.write("evilmod.py", EVIL), write))


def _site(evil):
    """A site of a store that is called like a path."""

    def do(place):
        from safetensors.torch import load_file, save_file

        from madkit.store.manifest import write_manifest

        for manifest in _files(place, "features/activations/*/manifest.json"):
            content = json.loads(manifest.read_text())
            old = content["sites"][1]
            write_manifest(manifest.parent, json.loads(json.dumps(content).replace(old, json.dumps(evil)[1:-1])))
            for path in manifest.parent.glob("shard-*"):
                tensors = load_file(path)
                tensors[evil] = tensors.pop(old)
                save_file(tensors, path)

    return do


class _Evil:
    def __reduce__(self):
        import os

        return (os.system, ("touch escaped",))


def _pickled(pattern, name=None):
    def do(place):
        for path in _files(place, pattern):
            (path.with_name(name) if name else path).write_bytes(pickle.dumps({"x": _Evil()}))

    return do


def _python(place):
    folder = place.copy_base("bad")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_evil.Model", "AutoConfig": "modeling_evil.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_evil.py").write_text(EVIL)


def _no_markup(place):
    """Nothing of what a stranger wrote is an element of the page."""
    from html.parser import HTMLParser

    found = []

    class Page(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if (tag == "img" and ("src", "x") in attrs) or any(name.startswith("on") for name, _ in attrs):
                found.append((tag, attrs))

    text = (place.root / "out" / "report.html").read_text()
    Page().feed(text)
    return ("wrong", f"markup of a prompt: {found[:1]}") if found or "alert(17)" in text.split("<script")[0] else None


MARKUP = "</script><script>alert(17)</script><img src=x onerror=alert(17)>"
CALLBACKS = "  callbacks:\n    - class_path: EarlyStopping\n"

CASES = [
    recipe("a callback of the working folder", CALLBACKS, "  callbacks:\n    - class_path: evilmod.Model\n    - class_path: EarlyStopping\n", "evilmod"),
    recipe("a model of the working folder", "class_path: QuirkyLM", "class_path: evilmod.Model", "evilmod"),
    recipe("an optimizer of the working folder", "class_path: torch.optim.AdamW", "class_path: evilmod.Model", "evilmod"),
    recipe("a process as callback", CALLBACKS, "  callbacks:\n    - class_path: subprocess.Popen\n      init_args: {args: [touch, escaped]}\n    - class_path: EarlyStopping\n", "subprocess.Popen"),
    recipe("a process as optimizer", "class_path: torch.optim.AdamW", "class_path: subprocess.Popen", "subprocess.Popen"),
    recipe("a process as model", "class_path: QuirkyLM", "class_path: subprocess.Popen", "Popen"),
    recipe("os.system as a callback's function", CALLBACKS, "  callbacks:\n    - class_path: LambdaCallback\n      init_args: {on_fit_start: os.system}\n    - class_path: EarlyStopping\n", "LambdaCallback|os.system|on_fit_start"),
    recipe("a function of the working folder as a callback's", CALLBACKS, "  callbacks:\n    - class_path: LambdaCallback\n      init_args: {on_fit_start: evilmod.call}\n    - class_path: EarlyStopping\n", "LambdaCallback|evilmod|on_fit_start"),
    recipe("a logger of the working folder", "trainer:\n", "trainer:\n  logger: {class_path: evilmod.Model}\n", "evilmod"),
    recipe("a strategy of the working folder", "trainer:\n", "trainer:\n  strategy: {class_path: evilmod.Model}\n", "evilmod"),
    recipe("a profiler of the working folder", "trainer:\n", "trainer:\n  profiler: {class_path: evilmod.Model}\n", "evilmod"),
    module("a dataset of the working folder", lambda e: fit(e, "--data.dataset", "evilmod.Model")),
    module("data of the working folder", lambda e: fit(e, "--data", "evilmod.Model")),
    Case("an estimator of the working folder", (test(Refused("evilmod|estimator"), "--model.detectors", "[{feature: activations, score: {class_path: SklearnEstimator, init_args: {estimator: evilmod.Model}}}]"),), (lambda p: p.write("evilmod.py", EVIL),), "predicted"),
    Case("a process as estimator", (test(Refused("Popen|estimator"), "--model.detectors", "[{feature: activations, score: {class_path: SklearnEstimator, init_args: {estimator: subprocess.Popen, init_args: {args: [touch, escaped]}}}}]"),), (), "predicted"),
    Case("Lightning's trainer as estimator", (test(Refused("Trainer|estimator"), "--model.detectors", "[{feature: activations, score: {class_path: SklearnEstimator, init_args: {estimator: lightning.pytorch.Trainer}}}]"),), (), "predicted"),
    Case("an estimator of scikit-learn", (test(Accepted(), "--model.detectors", "[{feature: activations, score: {class_path: SklearnEstimator, init_args: {estimator: sklearn.svm.OneClassSVM}}}]"),), (), "predicted"),
    Case("a score of the working folder that is none", (test(Refused("evilmod"), "--model.detectors", "[{feature: activations, score: {class_path: evilmod.Model}}]"),), (lambda p: p.write("evilmod.py", EVIL),), "predicted"),
    Case("a feature of the working folder that is none", (predict(Refused("evilmod"), "--model.features", "[{class_path: evilmod.Model}]"),), (lambda p: p.write("evilmod.py", EVIL),), "fitted"),
    Case("code that comes with a base", (fit(Either(Refused("bad", "trust_remote_code|code|auto_map"), Accepted()), "--model.base", "bad"),), (_python,)),
    Case("a pickle beside the adapter's tensors", (predict(Accepted()),), (_pickled("adapter/adapter_model.safetensors", "adapter_model.bin"),), "fitted"),
    Case("a pickle in place of the adapter's tensors", (predict(Refused("adapter")),), (_pickled("adapter/adapter_model.safetensors", "adapter_model.bin"), _no("adapter/adapter_model.safetensors")), "fitted"),
    Case("a pickle called safetensors", (predict(Refused("adapter")),), (_pickled("adapter/adapter_model.safetensors"),), "fitted"),
    *(
        Case(f"a site called {evil}", (test(Refused("manifest|site|shard")),), (_site(evil),), "predicted")
        for evil in ("../../../../../../escaped", "../x", "a/b", "..", "x\\..\\y")
    ),
    Case("an absolute site", (test(Refused("manifest|site|shard")),), (lambda p: _site(f"{p.root}/escaped")(p),), "predicted"),
    Case("a current store that is a path", (test(Refused("current.json|no complete store", "predict")),), (_json("features/activations/current.json", lambda m: {**m, "key": "../../../../elsewhere"}),), "predicted"),
    Case("a result that is a path", (fit(Accepted()),), (_json("fit.json", lambda m: {**m, "result": "/etc"}),), "fitted"),
    Case("prompts with markup", (command(Either(Refused("prompts.parquet"), Accepted(_no_markup)), "figures", "runs", "--out", "out", "--jobs", "1", "--formats", "svg"),), (_rows(lambda t: t.assign(prompt=MARKUP + t["prompt"]), "detection/prompts.parquet", checksums=True),), "tested"),
    Case("cells that begin with an equals sign", (command(Either(Refused("results.parquet"), Accepted(lambda p: None if not any(cell.startswith(("=cmd", "@SUM", "+cmd")) for line in (p.root / "out" / "table1.csv").read_text().splitlines() for cell in line.replace('"', "").split(",")) else ("wrong", "table1.csv has a formula"))), "figures", "runs", "--out", "out", "--jobs", "1", "--formats", "svg"),), (_rows(lambda t: t.assign(dataset="=cmd|' /C calc'!A0"), "detection/results.parquet", checksums=True),), "tested"),
    Case("files named like options", (command(Refused("source|--x|option", "--x"), "data", "check", "--x.jsonl"),), (lambda p: p.write("--x.jsonl", lines(ROWS)),)),
]  # fmt: skip
