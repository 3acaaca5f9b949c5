"""Which published figure one of ours is like."""

_SOURCE = "EleutherAI's MAD research update 2"


def counterpart(*numbers: int) -> str:
    """A sentence for the caption of a figure.

    Args:
        numbers: of the published figures that show the same of other models or features.

    Example:
        >>> counterpart(7, 8)
        "Like figures 7 and 8 of EleutherAI's MAD research update 2."
    """
    words = " and ".join(map(str, numbers))
    return f"Like figure{'s' if len(numbers) > 1 else ''} {words} of {_SOURCE}."
