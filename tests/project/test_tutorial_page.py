"""The tutorial and the notebook are those of their source; tests/slow runs it."""

import importlib.util
import json
import re
from pathlib import Path

PATH = Path(__file__).resolve().parents[2] / "docs" / "tutorial.py"
spec = importlib.util.spec_from_file_location("docs_tutorial", PATH)
tutorial = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tutorial)


def test_the_notebook_is_up_to_date():
    found = tutorial.cells()
    assert tutorial.NOTEBOOK.read_text() == tutorial.notebook(found), "stale: run `python docs/tutorial.py`"
    cells = json.loads(tutorial.NOTEBOOK.read_text())["cells"]
    commands = [line for cell in cells for line in cell["source"] if line.startswith(("!", "%"))]
    assert commands[0].startswith("%pip install") and sum("!madkit " in line for line in commands) == 5
    assert not any(line.startswith("# ") for cell in cells[1:2] for line in cell["source"])


def test_the_page_has_every_step_and_what_it_prints():
    text = tutorial.PAGE.read_text()
    shown = re.sub(r"^```text\n.*?^```\n\n|^!\[.*?\n\n", "", text, flags=re.DOTALL | re.MULTILINE)
    found = tutorial.cells()
    assert shown == tutorial.page(found, [""] * len(found)).replace(
        f"![Scores of Alice's and of Bob's prompts]({tutorial.PICTURE.name})\n\n", ""
    ), "stale: run `python docs/tutorial.py`"
    assert text.count("```text") >= 6 and tutorial.PICTURE.is_file()


def test_cells_run_in_order_and_commands_are_the_real_ones(tmp_path):
    cells = [
        tutorial.Cell(True, "# Title"),
        tutorial.Cell(False, "%pip install -q madkit-lm"),
        tutorial.Cell(False, "!madkit recipes --out here"),
        tutorial.Cell(
            False, "from pathlib import Path\nprint(sorted(path.name for path in Path('here').iterdir())[0])"
        ),
    ]
    outputs, _ = tutorial.run(cells, tmp_path)
    assert outputs[0] == outputs[1] == "" and outputs[3] == "README.md"
    assert "```sh\nmadkit recipes --out here\n```" in tutorial.page(cells, outputs)
