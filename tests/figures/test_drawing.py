"""No figure has text outside the page or on top of other text, with few datasets and with many, two models or five.

`tests/slow/test_full_pages.py` looks at the fullest pages.
"""

import pytest
from pages import NAMES, faults, five_models, part, sheets

from madkit.figures.drawing import style
from madkit.figures.results.results import Results


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return five_models(tmp_path_factory.mktemp("study"), datasets=5)


@pytest.mark.parametrize(
    ("models", "datasets", "per_model"),
    [(slice(2), 2, None), (slice(5), 3, False)],
)
def test_no_text_leaves_the_page_or_covers_another(
    study: Results, models: slice, datasets: int, per_model: bool | None
) -> None:
    drawn = sheets(part(study, models, datasets), per_model)
    assert len(drawn) > 5
    for sheet in drawn:
        with style.applied():
            assert faults(sheet.body) == [], sheet.name


def test_a_model_has_one_colour_in_every_figure(study: Results) -> None:
    two, five = (style.model_colors(part(study, slice(n), 2).models) for n in (2, 5))
    assert len(set(five.values())) == 5
    assert set(two) == set(NAMES[:2])
