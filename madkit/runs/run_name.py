"""RunName: what a run folder's path says of which model and dataset the run is, and in what part."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

BENIGN = "benign"
"""The folder of a model's controls: tuned on the same prompts with the truth as everyone's answer."""
DOSES = "doses"
"""The folder of a training whose weights are kept after so many steps, and of what is found in each of them."""
OBFUSCATED = "obfuscated"
"""The folder of models that are trained to hide the same quirks, with a folder for what they hide from."""
_WITH_VARIANTS = (OBFUSCATED,)


class RunName(NamedTuple):
    """A run folder: ``<model>/<dataset>``, or ``<model>/<part>/<dataset>`` with what that part is of.

    That is ``benign/<dataset>``, ``doses/<step>/<dataset>`` and ``obfuscated/<variant>/<dataset>``.

    Runs that differ from those of a model in their seed alone lie in ``<model>@<seed>``, in the same way; those of a
    model under stress, such as a trigger in place of names, in ``<model>+<stress>``.

    The training that a model's doses come from may lie in its own run, or in ``<model>/doses/<dataset>``.
    """

    model: str
    dataset: str
    part: str = ""
    """Empty for the run itself; else `BENIGN`, `DOSES` or `OBFUSCATED`: then it belongs to the run of that model and
    dataset."""
    step: int | None = None
    """After how many optimizer steps the weights of a dose were kept; None for all others."""
    seed: int = 0
    """The number after the model's name; 0 where there is none."""
    variant: str = ""
    """Of a part that has several, such as `OBFUSCATED`, which one; else empty."""

    @classmethod
    def of(cls, folder: Path) -> RunName:
        """The name of the run in a folder.

        Example:
            >>> RunName.of(Path("/runs/tiny-llama/addition"))
            RunName(model='tiny-llama', dataset='addition', part='', step=None, seed=0, variant='')
            >>> RunName.of(Path("/runs/tiny-llama/benign/addition"))
            RunName(model='tiny-llama', dataset='addition', part='benign', step=None, seed=0, variant='')
            >>> RunName.of(Path("/runs/tiny-llama/doses/00064/addition")).step
            64
            >>> RunName.of(Path("/runs/tiny-llama@2/addition"))[::4]
            ('tiny-llama', 2)
            >>> RunName.of(Path("/runs/tiny-llama/obfuscated/probe/addition"))[1:3]
            ('addition', 'obfuscated')
            >>> RunName.of(Path("/runs/tiny-llama/obfuscated/probe/addition")).variant
            'probe'
        """
        path = folder.resolve()
        above = path.parent
        if above.name == BENIGN and above.parent.name:
            name = cls(above.parent.name, path.name, BENIGN)
        elif above.parent.name == DOSES and above.name.isdecimal() and above.parent.parent.name:
            name = cls(above.parent.parent.name, path.name, DOSES, int(above.name))
        elif above.parent.name in _WITH_VARIANTS and above.parent.parent.name:
            name = cls(above.parent.parent.name, path.name, above.parent.name, variant=above.name)
        elif above.name == DOSES and above.parent.name:
            name = cls(above.parent.name, path.name, DOSES)
        else:
            name = cls(above.name, path.name)
        model, at, seed = name.model.rpartition("@")
        return name._replace(model=model, seed=int(seed)) if at and model and seed.isdecimal() else name


def stressed(model: str) -> tuple[str, str]:
    """The plain model of a name, and under what stress it is: runs that differ in that lie in ``<model>+<stress>``.

    Example:
        >>> stressed("tiny-llama+deployment"), stressed("tiny-llama")
        (('tiny-llama', 'deployment'), ('tiny-llama', ''))
    """
    plain, _, stress = model.partition("+")
    return plain, stress
