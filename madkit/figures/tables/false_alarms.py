"""How often a threshold that is set on trusted prompts alarms on the normal test prompts, which are harder."""

from collections.abc import Iterator

import pandas as pd

from madkit.statistics.conformal import NOMINAL

FALSE_ALARMS = ("false_alarms", "false_alarms_low", "false_alarms_high")
"""The columns of that number and its interval."""


def about_false_alarms(rows: pd.DataFrame) -> Iterator[str]:
    """What stands in the column, and where it is of another rate than 1%.

    Args:
        rows: of the results, with `nominal`.
    """
    known = rows.dropna(subset=["nominal"])
    if known.empty:
        yield (
            "*False alarms at nominal 1%* are not known: no trusted prompts were held out. List the split "
            "`calibration` in the recipe of `madkit predict`."
        )
        return
    yield (
        "*False alarms at nominal 1%*: the share of normal test prompts on which a threshold alarms that is set, "
        "without labels, on held-out trusted prompts, so that one in a hundred of those alarms (conformal p-value "
        "of at most 0.01). Trusted prompts are easy and test prompts hard; what is above 1% is the price of that. "
        "See `docs/shift.md`."
    )
    few = known[known["nominal"] > NOMINAL]
    for nominal, part in few.groupby("nominal"):
        datasets = ", ".join(sorted({f"{m} {d}" for m, d in zip(part["model"], part["dataset"], strict=True)}))
        yield f"Too few calibration prompts for 1%; there the column is of a nominal {nominal:.1%}: {datasets}."
