"""`madkit run` leaves what its stages leave when each is a command of its own, and skips what is complete."""

import json
import subprocess
import sys
from hashlib import sha256

from stage_words import configs

from madkit.cli.command import main


def contents(folder):
    """Digests of tensors and tables, but for the table of times."""
    kept = [*folder.rglob("*.safetensors"), *folder.rglob("rows.parquet")]
    return {(path.relative_to(folder).parts[0], path.name): sha256(path.read_bytes()).hexdigest() for path in kept}


def test_a_chain_gives_what_its_stages_give_alone_and_skips_what_is_complete(bases, tmp_path, capsys):
    small = ["--data.task_options", json.dumps({"n_train": 200, "n_validation": 80}), "--data.max_validation", "16"]
    fit = ["fit", *configs("llama"), "--model.base", str(bases["llama"]), "--data.dataset", "squaring", *small]
    fit += ["--trainer.max_steps", "2", "--trainer.val_check_interval", "1", "--trainer.limit_val_batches", "1"]
    predict = ["predict", *configs("predict"), "--model.features", '["Answers"]', "--model.controls", "[]"]
    chained = [sys.executable, "-m", "madkit", "run", *fit, "--run", str(tmp_path / "chained"), "then", *predict]
    done = subprocess.run(chained, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    where = ["--run", str(tmp_path / "alone"), "--data.dataset", "squaring"]
    assert main([*fit, *where]) == 0
    assert main([*predict, *where]) == 0
    made = contents(tmp_path / "chained" / "squaring")
    assert {part for part, _ in made} == {"adapter", "features"}
    assert made == contents(tmp_path / "alone" / "squaring")
    capsys.readouterr()
    assert main([*predict, *where]) == 0
    assert "features have already been computed" in capsys.readouterr().err
