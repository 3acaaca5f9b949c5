"""The examples of monitors, and the lines of the README and docs/monitor.md, do what they say."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from examples import watch_activations, watch_chat, watch_generation

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = "{% for m in messages %}{{ m.content }} {% endfor %}{% if add_generation_prompt %}={% endif %}"


def test_a_model_is_watched_while_it_writes(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    table = watch_generation.main()
    printed = capsys.readouterr().out
    assert table.groupby("sequence")["step"].max().max() >= 1
    assert printed.count("p = ") == int(table["alarm"].sum()) >= 1
    assert "'12 12 12 12 12 12'" in printed


def test_conversations_are_watched(tmp_path, capsys):
    base = shutil.copytree(ROOT / "bases" / "tiny-llama", tmp_path / "model")
    (base / "chat_template.jinja").write_text(TEMPLATE)
    texts = [f"{i} + {j}" for i in range(10, 40) for j in range(10, 20)]

    def conversations(name, prompts):
        rows = [{"messages": [{"role": "user", "content": prompt}]} for prompt in prompts]
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
        return tmp_path / name

    trusted, new = conversations("trusted.jsonl", texts), conversations("new.jsonl", [*texts[:4], *["= = 12 ="] * 20])
    table = watch_chat.main(str(base), trusted, new, fpr=0.05)
    assert table["alarm"].tolist()[4:] == [True] * 20
    printed = capsys.readouterr().out
    assert float(re.search(r"unchanged stream: ([\d.e+]+)", printed)[1]) > 100


def test_vectors_of_other_tools_are_watched(tmp_path, capsys):
    """What is unusual given the base's vectors alarms, and is not unusual by itself."""
    rng = np.random.default_rng(0)
    base = {"trusted": rng.normal(size=(400, 6)), "new": rng.normal(size=(40, 6))}
    tuned = {name: x + 0.1 * rng.normal(size=x.shape) for name, x in base.items()}
    tuned["new"][20:] += 1
    files = {}
    for kind, vectors in (("tuned", tuned), ("base", base)):
        for name, x in vectors.items():
            site = {"blocks.7.hook_resid_post": x}
            files[kind, name] = tmp_path / f"{kind}-{name}.{'npz' if kind == 'tuned' else 'safetensors'}"
            if kind == "tuned":
                np.savez(files[kind, name], **site)
            else:
                save_file(site, files[kind, name])
    table = watch_activations.main(*files.values())
    assert table["alarm"][20:].all() and table["alarm"][:20].mean() < 0.2
    assert capsys.readouterr().out.count("at blocks.7.hook_resid_post") == table["alarm"].sum()
    alone = watch_activations.main(*list(files.values())[:2])
    assert alone["alarm"][20:].mean() < 0.5


def test_the_lines_of_the_readme_run(monkeypatch):
    """The first block of Python of each page, as it stands there."""
    monkeypatch.chdir(ROOT)
    for page in ("README.md", "docs/monitor.md"):
        block = re.search(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)[1]
        names: dict = {}
        exec(block, names)
        assert isinstance(names["table"], pd.DataFrame) and names["table"]["alarm"].any()
