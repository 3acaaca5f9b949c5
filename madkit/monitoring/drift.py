"""Whether what comes in is still like what was trusted, without labels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from madkit.errors import ConfigError
from madkit.monitoring.monitor_state import MonitorState
from madkit.statistics.two_samples import TwoSampleTest, two_sample_test

SCORE, LENGTH = "score", "length"


class Drift(NamedTuple):
    """What a check of recent prompts has found."""

    drifted: bool
    """Whether they differ from the held-out trusted prompts."""
    p_value: float
    """Of all that was compared together."""
    rate: float
    """The probability with which prompts like the trusted ones are said to have drifted."""
    n_recent: int
    """How many different recent prompts were compared."""
    n_trusted: int
    """With how many held-out trusted ones."""
    parts: dict[str, dict[str, float]]
    """Of the score, the length in tokens and each site: the medians, the distance and the adjusted p-value."""

    def __str__(self) -> str:
        compared = f"{self.n_recent} different recent prompts with {self.n_trusted} held-out trusted ones"
        error = f"prompts like the trusted ones are said to have drifted in {self.rate:.3g} of such checks"
        if not self.drifted:
            return f"No drift found: {compared} (p = {self.p_value:.3g}; {error})."
        lines = [f"Drift: {compared} (p = {self.p_value:.3g}; {error})."]
        found = {name: part for name, part in self.parts.items() if part["p_value"] <= self.rate}
        if (score := found.pop(SCORE, None)) is not None:
            lines.append(
                f"They are {_direction(score, 'more unusual', 'more usual')} to the model: median score "
                f"{score['recent']:.3g}, of the trusted {score['trusted']:.3g}."
            )
        if (length := found.pop(LENGTH, None)) is not None:
            lines.append(
                f"They are {_direction(length, 'longer', 'shorter')}: {length['recent']:.0f} tokens in the median, the "
                f"trusted {length['trusted']:.0f}."
            )
        if found:
            furthest = max(found, key=lambda name: found[name]["distance"])
            lines.append(f"Their scores differ at {len(found)} of {len(self.parts) - 2} sites, most at {furthest}.")
        lines.append(
            "What the alarms promise is for prompts like the trusted ones: fit the monitor anew on such as these."
        )
        return "\n".join(lines)

    def plain(self) -> dict[str, Any]:
        """For a file."""
        return {**self._asdict(), "words": str(self)}


def find_drift(state: MonitorState, site_scores: NDArray[np.float64], lengths: NDArray[np.int64], rate: float) -> Drift:
    """Compare prompts with the held-out trusted ones, by their scores at all sites and together, and their lengths.

    Args:
        state: of the monitor.
        site_scores: (n, sites) of different recent prompts.
        lengths: their numbers of tokens (n,).
        rate: the probability of a false finding.

    Raises:
        ConfigError: the rate is not between 0.001 and 1.
    """
    if not 0.001 <= rate < 1:
        raise ConfigError(f"rate={rate} is no rate of false findings of this test: give one from 0.001 to below 1")
    detectors = state.detectors
    names = [SCORE, LENGTH, *detectors.names]
    trusted, recent = (
        np.column_stack([detectors.total(scores), n_tokens, scores])
        for scores, n_tokens in ((state.calibration, state.lengths), (site_scores, lengths))
    )
    test = two_sample_test(trusted, recent)
    medians = np.median(trusted, axis=0), np.median(recent, axis=0)
    return Drift(test.p_value <= rate, test.p_value, rate, len(recent), len(trusted), _parts(names, test, *medians))


def _parts(
    names: list[str], test: TwoSampleTest, trusted: NDArray[np.float64], recent: NDArray[np.float64]
) -> dict[str, dict[str, float]]:
    return {
        name: {"trusted": float(t), "recent": float(r), "distance": float(d), "p_value": float(p)}
        for name, t, r, d, p in zip(names, trusted, recent, test.distances, test.p_values, strict=True)
    }


def _direction(part: dict[str, float], up: str, down: str) -> str:
    if part["recent"] == part["trusted"]:
        return "otherwise spread"
    return up if part["recent"] > part["trusted"] else down
