"""What is refused before anything is imported is what the parser refuses, in its words; and help is what it prints."""

import json
import re
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest
from pins import PINNED
from stage_words import MODELS, RECIPES, configs, stage_recipes

from madkit.cli import early_errors, stored_help
from madkit.cli.command import main
from madkit.cli.early_errors import refuse_early
from madkit.cli.source_classes import parameters_in, source_of
from madkit.cli.store_help import made
from madkit.cli.stored_help import STAGES, known_kinds, known_options, known_words
from madkit.errors import ConfigError

#: With another Lightning than the one that help is stored of, the parser says what is said here beforehand.
STORED = stored_help.help_of("fit") is not None
stored_only = pytest.mark.skipif(not STORED, reason="help is stored of another version of Lightning")


@pytest.fixture(autouse=True)
def nothing_listed(monkeypatch):
    """Classes of the user's own, which other tests of the same process have named, would leave all to the parser."""
    monkeypatch.setattr(early_errors, "listed_modules", list)


@pytest.fixture(scope="module")
def files():
    return dict(made())


def options(text):
    return {word for line in text.splitlines() if line.lstrip().startswith("-") for word in line.split()[:1]}


def test_help_is_stored_of_the_pinned_version():
    """So that none of these tests is left out where the pinned versions are installed."""
    assert (stored_help.FOLDER / stored_help.VERSION).read_text().strip() == PINNED["lightning"]


@stored_only
def test_what_is_stored_is_what_the_parser_knows(files):
    """Tests define classes as well, which the parser lists; the texts are compared where there are none."""
    for name, made_now in files.items():
        stored = (stored_help.FOLDER / name).read_text()
        same = options(stored) == options(made_now) if name.endswith(".txt") else stored == made_now
        assert same, "python -m madkit.cli.store_help"


def test_a_new_class_is_none_that_is_misspelt(monkeypatch):
    definition = source_of("madkit.lm.quirky_lm.QuirkyLM")
    assert definition is not None and {"base", "lora"} <= parameters_in(definition).keys()
    monkeypatch.setattr(early_errors, "source_of", lambda name: definition if name == "QuirkLM" else source_of(name))
    refuse_early("fit", recipe(model={"class_path": "QuirkLM", "init_args": {"base": "none"}}))


@stored_only
def test_kinds_are_those_of_the_trainer():
    for stage in STAGES:
        kinds = known_kinds(stage)
        assert kinds["trainer.max_epochs"] == "int" and kinds["trainer.barebones"] == "bool"
        assert not {"trainer.devices", "trainer.limit_val_batches", "trainer.precision"} & kinds.keys()
        assert "bf16-mixed" in known_words(stage)["trainer.precision"] and "trainer.devices" not in known_words(stage)


def recipe(**changes):
    content = {"run": "runs", "model": {"class_path": "QuirkyLM", "init_args": {"base": "none"}}}
    content |= {
        "data": {"class_path": "QuirkyData", "init_args": {"dataset": "addition"}},
        "trainer": {"max_epochs": 1},
    }
    return ["--config", json.dumps({**content, **changes})]


CACHED = (stored_help.help_of, stored_help.known_classes, known_options, known_kinds, known_words)
MISTAKES = [
    [*recipe(), "--foo", "3"],
    [*recipe(), "--trainer.max_epoch", "3"],
    [*recipe(), "--traner.max_epochs=3"],
    [*recipe(), "--model.warmupp", "1"],
    [*recipe(), "--data.batchsize=3"],
    [*recipe(), "--model", "QuirkLM"],
    [*recipe(), "--trainer.max_epochs", "many"],
    recipe(modle={"class_path": "QuirkyLM"}),
    recipe(trainer={"max_epoch": 1}),
    recipe(trainer={"max_steps": "few"}),
    recipe(model={"class_path": "QuirkyLM", "init_args": {"base": "none", "warmupp": 1}}),
    recipe(model={"class_path": "madkit.lm.quirky_lm.QuirkyLM", "init_args": {"base": "none", "rank": 1}}),
    recipe(data={"class_path": "QuirkyDat"}),
    ["--config", "nowhere.yaml"],
    ["--config", "{a: b: c}"],
]


def with_callback(name, **options):
    return ["fit", *recipe(trainer={"callbacks": [{"class_path": name, "init_args": options}]})]


def with_feature(name, **options):
    features = [{"class_path": "Answers"}, {"class_path": name, "init_args": options}]
    content = {"run": "runs", "model": {"class_path": "Extractor", "init_args": {"features": features}}}
    return ["predict", "--lm", str(RECIPES / "tiny-llama.yaml"), "--config", json.dumps(content)]


def with_detector(**options):
    model = {"class_path": "Detection", "init_args": {"detectors": [{"feature": "answers", **options}]}}
    data = {"class_path": "StoreData", "init_args": {"dataset": "addition"}}
    return ["test", "--config", json.dumps({"run": "runs", "model": model, "data": data})]


WITHIN = [
    ["fit", *recipe(), "--data.batch_size", "few"],
    ["fit", *recipe(data={"class_path": "QuirkyData", "init_args": {"dataset": "nli", "seed": 1.5}})],
    ["fit", *recipe(), "--model.gradient_checkpointing", "maybe"],
    ["fit", *recipe(), "--trainer.barebones", "maybe"],
    ["fit", *recipe(), "--trainer.precision", "bf61"],
    with_callback("EarlyStopping", monitr="val/loss"),
    with_callback("EarlyStoping", monitor="val/loss"),
    ["fit", *recipe(data={"class_path": "QuirkyData", "init_args": {"dataset": "addition", "quirk": "nobody"}})],
    ["fit", *recipe(model={"class_path": "QuirkyLM", "init_args": {"base": "b", "optimizer": "torch.optim.AdmW"}})],
    with_feature("Activatons"),
    ["fit", *recipe(trainer={"logger": [{"class_path": "CSVLoger"}]})],
    with_callback("EarlyStopping", monitor="val/loss", patience="few"),
    with_callback("LogSpacedCheckpoints", first="few"),
    with_feature("Activations", stpe=2),
    with_feature("Activations", step="few"),
    with_detector(score={"class_path": "KNearestNeighbours", "init_args": {"k": "few"}}),
    with_detector(score={"class_path": "Mahalanobis", "init_args": {"shrinkag": 1}}),
    with_detector(score={"class_path": "Mahalanobis"}, adapter="perhaps"),
    with_detector(score={"class_path": "Mahalanobis"}, backgroud=True),
    with_detector(
        feature={"class_path": "Conditional", "init_args": {"studentized": True}}, score={"class_path": "Mahalanobis"}
    ),
]


@pytest.mark.parametrize(
    "words", [*(["fit", *words] for words in MISTAKES), *WITHIN], ids=lambda words: " ".join(words[-2:])[-60:]
)
def test_the_words_are_those_of_the_parser(words, capsys):
    early = None
    try:
        refuse_early(words[0], words[1:])
    except ConfigError as error:
        early = f"madkit: {error}"
    capsys.readouterr()
    assert main(words) == 2
    late = capsys.readouterr().err.strip().splitlines()[-1]
    assert early == late if STORED else early in (None, late)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (with_callback("LogSpacedCheckpoint"), "trainer.callbacks: there is no class 'LogSpacedCheckpoint'"),
        (with_feature("madkit.features.Activatons"), "did you mean 'Activations'?"),
        (
            with_detector(score={"class_path": "Mahalanobi"}),
            "model.detectors.score: there is no class 'Mahalanobi'; did",
        ),
        (
            with_detector(feature={"class_path": "Conditonal"}),
            "there is no class 'Conditonal'; did you mean 'Conditional'?",
        ),
        (
            ["fit", *recipe(trainer={"logger": "CSVLoger"})],
            "trainer.logger: there is no class 'CSVLoger'; did you mean",
        ),
        (["fit", *recipe(trainer={"logger": "CometLogger"})], "pip install 'comet_ml'"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_slip_in_the_name_of_a_class_is_seen_wherever_it_is(words, line):
    with pytest.raises(ConfigError, match=re.escape(line)):
        refuse_early(words[0], words[1:])


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"dataset": "additon"}, "dataset='additon' is unknown: use one of"),
        ({"dataset": "addition", "template": "standardised"}, "template='standardised' is unknown: use one of"),
        ({"dataset": "nli", "template": "nowhere/{dataset}.yaml"}, "nowhere/nli.yaml"),
        ({"dataset": "mine", "source": "mine.csv", "template": "compact"}, "'mine' is not one of them"),
    ],
)
def test_datasets_and_templates_are_looked_for(options, line):
    words = recipe(data={"class_path": "QuirkyData", "init_args": options})
    with pytest.raises(ConfigError, match=re.escape(line)):
        refuse_early("fit", words)
    refuse_early("fit", [*words, "--print_config"])


def test_classes_that_are_no_slip_are_left_to_the_parser():
    for words in (
        with_feature("Zebra"), with_feature("my_module.Activatons"), with_detector(score="sklearn.svm.OneClasSVM"),
        with_callback("MyStopping"), with_callback("my_module.EarlyStoping"),
        ["fit", *recipe(trainer={"logger": True})], ["fit", *recipe(trainer={"logger": "my_module.CSVLoger"})],
    ):  # fmt: skip
        refuse_early(words[0], words[1:])


def test_a_name_like_one_of_madkits_may_be_of_an_installed_package(monkeypatch):
    with pytest.raises(ConfigError, match="did you mean 'Mahalanobis'"):
        refuse_early("test", with_detector(score={"class_path": "MyMahalanobis"})[1:])
    offered = EntryPoints([EntryPoint("x", "package.scores", "madkit.scores")])
    monkeypatch.setattr("madkit.cli.source_mistakes.entry_points", lambda: offered)
    refuse_early("test", with_detector(score={"class_path": "MyMahalanobis"})[1:])


def test_a_run_folder_is_asked_for(tmp_path):
    with pytest.raises(ConfigError, match="run=None: say where results go"):
        refuse_early("test", configs("test"))
    refuse_early("test", [*configs("test"), "--trainer.default_root_dir", str(tmp_path)])
    refuse_early("test", [*configs("test"), "--print_config"])


def test_every_recipe_passes(monkeypatch):
    monkeypatch.chdir(RECIPES.parent)
    for model in MODELS:
        refuse_early("fit", configs(model))
        for stage, overlay in (("predict", "predict-encoders"), ("test", "test-encoders")):
            refuse_early(stage, [*stage_recipes(model, stage, overlay), "--run", "r", "--trainer.devices=2"])
    for path in [*RECIPES.glob("poser/*.yaml"), *RECIPES.glob("tiny/*base.yaml")]:
        refuse_early("test" if path.stem in ("tiny", "llama-13b") else "fit", ["--config", str(path), "--run", "r"])


def test_what_the_parser_may_know_better_is_left_to_it(monkeypatch):
    for words in (
        [*recipe(), "--data", "StoredActivations"],  # of which the parser drops the options of the other class
        recipe(model={"class_path": "my_module.QuirkLM"}),
        recipe(model={"class_path": "MyModel"}),
        [*recipe(), "--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val/loss"],
        [*recipe(), "--trainer.max_epochs", "null", "--print_config=skip_null"],
        [*recipe(), "--data.batch_size", "0x20", "--model.warmup", "inf", "--model.gradient_checkpointing", "Yes"],
        with_callback("MyCallback", monitr=1)[1:],
        [*recipe(), "--trainer.precision", "16"],
        [*recipe(), "--trainer.precision=bf16-true"],
        recipe(trainer={"precision": 32}),
        recipe(data={"class_path": "QuirkyData", "init_args": {"dataset": "nli", "task_options": {"n": "few"}}}),
    ):
        refuse_early("fit", words)
    monkeypatch.setattr(stored_help, "version", lambda name: "0.0")
    for cached in CACHED:
        cached.cache_clear()
    refuse_early("fit", [*recipe(), "--foo", "3"])  # of another Lightning nothing is known beforehand
    for cached in CACHED:
        cached.cache_clear()


@pytest.mark.parametrize(
    ("words", "status"),
    [
        pytest.param(["fit", "--help"], 0, marks=stored_only),
        (["test", *configs("test")], 2),
        pytest.param(["fit", *recipe(), "--foo", "3"], 2, marks=stored_only),
    ],
)
def test_neither_imports_torch(words, status):
    script = (
        "import sys; from madkit.cli.command import main; status = main(sys.argv[1:]); "
        "sys.exit('imported torch' if 'torch' in sys.modules else status)"
    )
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
    assert done.returncode == status, done.stderr
