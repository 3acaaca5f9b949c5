"""Which detector a monitor has where nobody names one, and why."""

from __future__ import annotations

from madkit.derived import Conditional
from madkit.detection.detector import Detector
from madkit.errors import ConfigError
from madkit.features import Feature
from madkit.lm.text_decoder import residual_width
from madkit.monitoring.watched_model import WatchedModel
from madkit.scores import Mahalanobis


def default_detector(watched: WatchedModel, n: int) -> tuple[Detector, str]:
    """`first_choice` for what is at hand.

    Args:
        watched: the model.
        n: how many trusted prompts it is fitted on.

    Returns:
        The detector, and the reason in words.
    """
    return first_choice(residual_width(watched.lm), n, watched.base)


def first_choice(width: int, n: int, base: str | None) -> tuple[Detector, str]:
    """What ``docs/detectors.md`` has as the first choice for activations.

    Args:
        width: their length.
        n: how many trusted prompts it is fitted on.
        base: what is known of the base model, in words; None if nothing is.

    Returns:
        The detector, and the reason in words.
    """
    if n > width:
        score, why = Mahalanobis(), ""
    else:
        score = Mahalanobis(shrinkage="ledoit-wolf")
        why = f"; its covariance is shrunk, because {n} prompts do not span {width} dimensions"
    if base is not None:
        return (
            Detector(Conditional(studentised=True), score),
            f"what the base model's activations do not explain of the model's own, by Mahalanobis distance, because "
            f"{base}{why}",
        )
    return (
        Detector("activations", score),
        "Mahalanobis distance of activations, because no base model is known to compare with (an adapter, or "
        f"`reference`, would give one){why}",
    )


def require_unlabelled(detector: Detector) -> None:
    """Refuse a detector that learns from more than trusted prompts.

    Raises:
        ConfigError: it does.
    """
    if detector.background:
        raise ConfigError(
            "detector has background=true, which a monitor has not: name `Conditional` or `Delta` instead"
        )
    if detector.score.offline:
        raise ConfigError(
            f"detector: {detector.score.name} learns from untrusted prompts, and a monitor has trusted ones alone: "
            "name another score"
        )


def require_fitting(detector: Detector, features: list[Feature], watched: WatchedModel) -> None:
    """Refuse a detector or a feature that a monitor cannot have.

    Raises:
        ConfigError: it needs labels, answers, untrusted prompts or a base model, of which there are none here; or it
            reads a feature that is not listed.
    """
    require_unlabelled(detector)
    for feature in features:
        if feature.needs_logits or feature.needs_gradients:
            raise ConfigError(
                f"features: {feature.name} is about the answers of a prompt, and these have none: name features of "
                "activations"
            )
    known = [feature.name for feature in features]
    for variant in detector.reads:
        if variant.feature not in known:
            raise ConfigError(
                f"detector reads the feature {variant.feature!r} and features are {', '.join(known)}: list it there"
            )
        if not variant.adapter and watched.base is None:
            raise ConfigError(
                "detector compares with the base model, and none is known: give an adapter's model, or the base as "
                "`reference`"
            )
