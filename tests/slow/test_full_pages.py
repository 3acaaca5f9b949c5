"""No figure has text outside the page or on top of other text, of many detectors on all datasets, and of all models."""

from pathlib import Path

import pytest
from pages import faults, five_models, part, sheets

from madkit.figures.drawing import style
from madkit.figures.results.results import Results


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return five_models(Path(tmp_path_factory.mktemp("study")))


@pytest.mark.parametrize(("models", "datasets", "per_model"), [(1, 12, True), (5, 12, False), (5, 1, False)])
def test_no_text_leaves_the_page_or_covers_another(study: Results, models: int, datasets: int, per_model: bool) -> None:
    drawn = sheets(part(study, slice(models), datasets), per_model)
    assert len(drawn) > 5
    for sheet in drawn:
        with style.applied():
            assert faults(sheet.body) == [], sheet.name
