"""CONTRIBUTING's table is true: each of its rows is carried out in a copy of the project, and what was added works."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path):
    """A copy of the code, the recipes and the tests."""
    for name in ("madkit", "recipes", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "slow"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def add(path, before, line):
    """Insert a line before the first occurrence of another text."""
    text = path.read_text()
    assert before in text, f"{path} has no {before!r}"
    path.write_text(text.replace(before, f"{line}\n{before}", 1))


def run(project, *words):
    """Run a Python module in the copy; what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_the_table_has_these_rows_and_no_others():
    """A row that nobody carries out here cannot be relied on."""
    table = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| (a \w+) \|", table, re.MULTILINE)
    assert rows == ["a score", "a feature", "a dataset", "a figure"]


def test_a_score(project):
    """A file named as its class, one import and its name, a line in the recipe, a line in the parametrized test."""
    (project / "madkit" / "scores" / "largest_value.py").write_text(
        '"""Rows that are anomalous where their largest value is."""\n\n'
        "from torch import Tensor\n\nfrom madkit.scores.common.fixed_score import FixedScore\n\n\n"
        "class LargestValue(FixedScore):\n"
        '    """max_i x_i."""\n\n'
        "    def score(self, x: Tensor) -> Tensor:\n"
        '        """Rows (b, d) -> (b,)."""\n'
        "        return x.amax(1)\n"
    )
    init = project / "madkit" / "scores" / "__init__.py"
    add(init, "from madkit.scores.mahalanobis", "from madkit.scores.largest_value import LargestValue")
    add(init, '    "Mahalanobis",', '    "LargestValue",')
    recipe = project / "recipes" / "test.yaml"
    add(recipe, "      - feature: answers", "      - {feature: activations, score: {class_path: LargestValue}}")
    add(
        project / "tests" / "scores" / "test_score.py", '    "laplace_nll"', '    "largest_value": scores.LargestValue,'
    )
    resolved = run(project, "madkit", "test", "--config", str(recipe), "--run", "runs/x", "--print_config")
    assert "LargestValue" in resolved
    run(project, "pytest", "tests/scores/test_score.py", "-k", "largest_value", "-q", "-n", "0")


def test_a_feature(project):
    """A file named as its class, one import and its name, a line in the recipe, a line in the parametrized test."""
    (project / "madkit" / "features" / "output_norm.py").write_text(
        '"""How long the last layer\'s output is."""\n\n'
        "from torch import Tensor, nn\n\n"
        "from madkit.features.feature import Feature\nfrom madkit.features.trace import Trace\n"
        "from madkit.lm.hooks import Hookpoint\nfrom madkit.lm.text_decoder import layer_names\n\n\n"
        "class OutputNorm(Feature):\n"
        '    """|h| of the last layer at the last token, (B, 1)."""\n\n'
        "    def hookpoints(self, lm: nn.Module) -> list[Hookpoint]:\n"
        '        """What leaves the last layer."""\n'
        '        return [Hookpoint(layer_names(lm)[-1], "output")]\n\n'
        "    def sites(self, lm: nn.Module) -> list[str]:\n"
        '        """One site."""\n'
        '        return ["norm"]\n\n'
        "    def __call__(self, trace: Trace) -> dict[str, Tensor]:\n"
        '        """The norm."""\n'
        "        (value,) = trace.activations.values()\n"
        '        return {"norm": value.norm(dim=1, keepdim=True)}\n'
    )
    init = project / "madkit" / "features" / "__init__.py"
    add(init, "from madkit.features.probe_shift", "from madkit.features.output_norm import OutputNorm")
    add(init, '    "ProbeShift",', '    "OutputNorm",')
    recipe = project / "recipes" / "predict.yaml"
    add(recipe, "      - class_path: Answers", "      - class_path: OutputNorm")
    cases = project / "tests" / "features" / "test_every_feature.py"
    add(cases, '    "probe": (ProbeShift', '    "output_norm": (features.OutputNorm, {}, {}),')
    resolved = run(
        project, "madkit", "predict", "--config", str(recipe), "--lm", "recipes/tiny-llama.yaml", "--print_config"
    )
    assert "OutputNorm" in resolved
    run(project, "pytest", str(cases), "-k", "output_norm", "-q", "-n", "0")


def test_a_dataset(project):
    """A class, a file of templates and a line in the table of datasets."""
    (project / "madkit" / "data" / "tasks" / "evenness.py").write_text(
        '"""Is a number even? The quirk looks at its first digit."""\n\n'
        "import numpy as np\n\nfrom madkit.data.tasks.base import Questions, Task\n\n\n"
        "class Evenness(Task):\n"
        '    """Numbers from 10 to 999."""\n\n'
        '    name = "evenness"\n    fields = ("number",)\n\n'
        "    def questions(self, seed: int) -> dict[str, Questions]:\n"
        '        """Shuffled, half for each split."""\n'
        "        numbers = np.random.default_rng(seed).permutation(np.arange(10, 1000))\n"
        "        halves = {'train': numbers[::2], 'validation': numbers[1::2]}\n"
        "        first = {n: int(str(n)[0]) for n in range(10, 1000)}\n"
        "        return {\n"
        "            split: Questions(\n"
        "                {'number': part}, part % 2 == 0, np.array([first[n] % 2 == 0 for n in part]), part\n"
        "            )\n"
        "            for split, part in halves.items()\n"
        "        }\n"
    )
    (project / "madkit" / "data" / "templates" / "evenness.yaml").write_text(
        "standardized:\n"
        '  - template: "Name: {name}\\n\\nStatement: {number} is even.\\n\\nIs the statement true?"\n'
        '    choices: [" No", " Yes"]\n'
    )
    add(
        project / "madkit" / "data" / "tasks" / "__init__.py",
        '    "capitals":',
        '    "evenness": "madkit.data.tasks.evenness.Evenness",',
    )
    assert " is even." in run(project, "madkit", "data", "show", "evenness")


def test_a_figure(project):
    """A file: it is found, drawn, and shown in the report."""
    (project / "madkit" / "figures" / "families" / "prompt_counts.py").write_text(
        '"""How many prompts each run was tested on."""\n\n'
        "from collections.abc import Iterator\n\nfrom matplotlib.figure import Figure\n\n"
        "from madkit.figures.registry import Sheet, artist\nfrom madkit.figures.results.results import Results\n\n\n"
        '@artist("detection", after="heat_map")\n'
        "def prompt_counts(results: Results) -> Iterator[Sheet]:\n"
        '    """One bar for each run."""\n'
        "    counts = results.aggregated().groupby(['model', 'dataset'])['n_anomalous'].max()\n"
        "    figure = Figure()\n"
        "    figure.subplots().bar([' '.join(key) for key in counts.index], counts.to_numpy())\n"
        '    yield Sheet("prompt_counts", figure)\n'
    )
    code = "import sys; sys.path.insert(0, 'tests'); from pathlib import Path; from fabricated import write_run; "
    (project / "make.py").write_text(code + "write_run(Path('runs'), 'llama', 'addition')\n")
    run(project, "make")
    run(project, "madkit", "figures", "runs", "--out", "figures")
    assert (project / "figures" / "prompt_counts.png").stat().st_size > 1000
    assert "prompt_counts" in (project / "figures" / "report.html").read_text()
