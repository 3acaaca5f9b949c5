"""Scores, features and datasets of a package that is installed beside madkit."""

import os
import subprocess
import sys
import textwrap

import pytest

PACKAGE = {
    "their_package.py": """
        from madkit.data.tasks.arithmetic.datasets import Squaring
        from madkit.features import Activations
        from madkit.scores import FixedScore

        class TheirScore(FixedScore):
            def score(self, x):
                return x.amax(1)

        class TheirFeature(Activations):
            pass

        class TheirTask(Squaring):
            name = "their_squares"
        """,
    "their_package-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n",
    "their_package-1.0.dist-info/entry_points.txt": """
        [madkit.scores]
        scores = their_package
        [madkit.features]
        features = their_package:TheirFeature
        [madkit.tasks]
        squares = their_package:TheirTask
        """,
}
RECIPE = """
    from madkit.cli.deferred import defer
    from madkit.cli.registry import import_named

    defer()
    from jsonargparse import ArgumentParser
    from madkit.data.tasks import make_task, task_names
    from madkit.features import Feature
    from madkit.scores import Score

    import_named([])
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--score", type=Score)
    parser.add_argument("--feature", type=Feature)
    given = {"score": {"class_path": "TheirScore"}, "feature": {"class_path": "TheirFeature"}}
    built = parser.instantiate_classes(parser.parse_object(given))
    print(built.score.name, type(built.feature).__name__, "their_squares" in task_names())
    print(type(make_task("their_squares")).__name__)
    """


def run(folder, code):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder)


def install(folder, **changes):
    for name, content in {**PACKAGE, **changes}.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(content))


def test_a_recipe_may_name_what_an_installed_package_brings(tmp_path):
    install(tmp_path)
    done = run(tmp_path, RECIPE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["their_score", "TheirFeature", "True", "TheirTask"]


TASK = "from madkit.data.tasks.arithmetic.datasets import Squaring\nclass TheirTask(Squaring):\n    name = {name!r}\n"


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("import nothing_of_that_name", "plugin 'squares' of their-package 1.0"),
        (TASK.format(name="squaring"), "a dataset named 'squaring' exists already"),
    ],
)
def test_a_package_that_is_broken_or_in_the_way_is_named_in_one_line(tmp_path, module, message):
    install(tmp_path, **{"their_package.py": module})
    done = run(
        tmp_path, "import sys; from madkit.cli.command import main; sys.exit(main(['data', 'show', 'squaring']))"
    )
    assert done.returncode == 2
    assert done.stderr.startswith("madkit: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
