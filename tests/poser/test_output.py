"""What loggers are given of a comparison of models."""

import pandas as pd
import pytest

from madkit.poser.results import output


@pytest.mark.parametrize(
    ("coefficients", "steps"),
    [([0.0, 4.0, 1.0], [0, 4, 1]), ([0.5, 0.25, 0.75], [1, 0, 2]), ([0.0, 0.5, 8.0], [0, 1, 2])],
)
def test_every_coefficient_has_a_step_of_its_own(coefficients, steps, monkeypatch):
    """Beside a perturbation with whole coefficients, and the same for both models."""
    logged = []

    class Loggers:
        def __init__(self, trainer):
            pass

        def scalars(self, values, step):
            logged.extend((tag, value, step) for tag, value in values.items())

    class Module:
        trainer = None

    monkeypatch.setattr(output, "RunLoggers", Loggers)
    lines = [
        {"perturbation": name, "prompts": "x", "lm": lm, "coefficient": c, "kl": c, "p_misaligned": 0.5}
        for name, given in (("noise", coefficients), ("steering", [0.0, 3.0]))
        for lm in ("a", "b")
        for c in given
    ]
    output.log_results(Module(), pd.DataFrame(lines), pd.DataFrame())
    for lm in ("a", "b"):
        found = [(value, step) for tag, value, step in logged if tag == f"kl/noise/x/{lm}"]
        assert found == list(zip(coefficients, steps, strict=True))
        assert [step for tag, _, step in logged if tag == f"p_misaligned/steering/x/{lm}"] == [0, 3]
    assert all(type(step) is int for _, _, step in logged)
