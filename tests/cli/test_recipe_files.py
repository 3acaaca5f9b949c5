"""What is wrong with a recipe as a file: which file, which line, why; and no key that is there twice is dropped."""

import pytest

from madkit.cli.command import main

RECIPE = """\
run: runs
model: {class_path: QuirkyLM, init_args: {base: nowhere, lora: {r: 4, target_modules: [q_proj]}}}
data:
  class_path: QuirkyData
  init_args:
    dataset: addition
    seed: 1
trainer: {max_steps: 1}
"""


def complaint(capsys, *words):
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("madkit: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (RECIPE + "trainer: {max_epochs: 2}\n", "has the key 'trainer' twice, in lines 8 and 9"),
        (
            RECIPE.replace("    seed: 1\n", "    seed: 1\n    seed: 2\n"),
            "'data.init_args.seed' twice, in lines 7 and 8",
        ),
        (RECIPE.replace("r: 4", "r: 4, r: 8"), "has the key 'model.init_args.lora.r' twice"),
        (RECIPE + "trainer.max_steps: 5\n", "'trainer.max_steps' twice, as one key and inside of another"),
        ('{"run": "a", "run": "b"}', "has the key 'run' twice"),
        (RECIPE + "more: [1, 2\n", "is no YAML: line 10, column 1: while parsing a flow sequence"),
        ("run:\n\tx: 1\n", "is no YAML: line 2, column 1"),
        (b"\xff\xfe\x00bin", "is no UTF-8 text (byte 0"),
        ("run: a\0b", "character 6 cannot stand in a text file"),
        ("", "holds nothing: write sections"),
        ("- a\n- b\n", "holds list"),
        ("run: !!python/name:os.system x\n", "is no YAML: line 1, column 6"),
    ],
)
def test_a_recipe_that_cannot_be_read_says_where(tmp_path, capsys, text, said):
    recipe = tmp_path / "mine.yaml"
    recipe.write_bytes(text.encode() if isinstance(text, str) else text)
    for words in (["--config", recipe], ["-c", recipe]):
        line = complaint(capsys, "fit", *words)
        assert said in line and "mine.yaml" in line
    line = complaint(capsys, "data", "show", "addition", "--config", recipe)
    assert said in line or "twice, as one" in said


def test_files_that_a_recipe_names_are_read_as_strictly(tmp_path, capsys):
    (tmp_path / "data.yaml").write_text("class_path: QuirkyData\ninit_args:\n  seed: 1\n  seed: 2\n")
    (tmp_path / "stop.yaml").write_text("class_path: EarlyStopping\ninit_args: {monitor: a, monitor: b}\n")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(RECIPE.partition("data:")[0] + f"data: {tmp_path}/data.yaml\n")
    line = complaint(capsys, "fit", "--config", recipe)
    assert "data.yaml" in line and "'init_args.seed' twice, in lines 3 and 4" in line
    recipe.write_text(RECIPE.replace("max_steps: 1", f"callbacks: [{tmp_path}/stop.yaml]"))
    assert "'init_args.monitor' twice, in lines 2 and 2" in complaint(capsys, "fit", "--config", recipe)
    recipe.write_text(RECIPE)
    line = complaint(capsys, "fit", "--config", recipe, "--data.task_options", "{n_train: 3, n_train: 4}")
    assert "has the key 'n_train' twice" in line


def test_a_byte_order_mark_is_no_part_of_a_recipe(tmp_path, capsys):
    recipe = tmp_path / "mine.yaml"
    recipe.write_bytes(b"\xef\xbb\xbf" + RECIPE.encode())
    assert "trainer.max_steps=-7" in complaint(capsys, "fit", "--config", recipe, "--trainer.max_steps", "-7")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seed_everything", "-1"], "seed_everything=-1: a seed is a whole number from 0"),
        (["--seed_everything", str(10**20)], "a seed is a whole number from 0"),
        (["--seed_everything", "x"], "seed_everything=x: expected bool or int"),
        (["--data.seed", "-1"], "data.init_args.seed=-1"),
        (["--trainer.devices", "0"], "trainer.devices='0'"),
        (["--trainer.devices", "many"], "trainer.devices='many'"),
        (["--trainer.accelerator", "quantum"], "trainer.accelerator='quantum'"),
        (["--trainer.strategy", "ddpp"], "trainer.strategy='ddpp'"),
        (["--trainer.precision", "transformer-engine"], "trainer.precision='transformer-engine'"),
        (["--trainer.precision", "b16"], "trainer.precision=b16: expected one of"),
        (["--trainer.limit_val_batches", "-1"], "trainer.limit_val_batches=-1"),
        (["--trainer.limit_val_batches", "0"], "trainer.limit_val_batches=0"),
        (["--trainer.val_check_interval", "0"], "trainer.val_check_interval=0"),
        (["--trainer.gradient_clip_val", "-1"], "trainer.gradient_clip_val=-1"),
        (["--trainer.accumulate_grad_batches", "0"], "trainer.accumulate_grad_batches=0"),
        (["--trainer.max_time", "soon"], "trainer.max_time='soon'"),
        (["--trainer.profiler", "foo"], "trainer.profiler='foo'"),
        (["--trainer.max_epoch", "3"], "did you mean --trainer.max_epochs?"),
        (["--trianer.max_epochs", "3"], "did you mean --trainer.max_epochs?"),
        (["--ckpt_path", "nope.ckpt"], "ckpt_path='nope.ckpt': there is no such file"),
        (["--ckpt_path", "."], "ckpt_path='.': is a folder that holds no checkpoint"),
        (["--run", ""], "run='' is empty"),
        (["--model.optimizer.lr", "fast"], "model.optimizer.lr=fast: expected float"),
        (["--model", "QuirkyData"], "'QuirkyData' is data and not a model"),
        (["--trainer.logger", "CSVLoger"], "there is no class 'CSVLoger'; did you mean 'CSVLogger'?"),
        (["--trainer.callbacks", "EarlyStopping"], "trainer.callbacks: EarlyStopping needs monitor"),
        (
            ["--trainer.callbacks", "{class_path: EarlyStopping, init_args: {monitor: a, mode: up}}"],
            "`mode` can be min, max",
        ),
        (["--model.optimizer", "torch.nn.Linear"], "'torch.nn.Linear' is no Optimizer"),
    ],
)
def test_an_option_that_cannot_be_is_named_with_its_value(tmp_path, capsys, words, said):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(RECIPE)
    common = ["--run", tmp_path / "runs", "--trainer.accelerator", "cpu"]
    assert said in complaint(capsys, "fit", "--config", recipe, *common, *words)
    assert not list((tmp_path / "runs").rglob("*.json"))  # nothing was begun
