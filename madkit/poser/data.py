"""PoserData: pairs of models and the prompts on which the two of a pair behave the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
from torch.utils.data import DataLoader

from madkit.errors import ConfigError
from madkit.poser.benchmark.contrast_pairs import contrast_pairs
from madkit.poser.benchmark.pairs import Model, Pair, find_models, read_pairs
from madkit.poser.benchmark.scenarios import Scenario, distinct, read_benchmark
from madkit.poser.family.generator import draw_cases
from madkit.poser.measure.prompts import PromptSet


class Job(NamedTuple):
    """One model on one set of prompts."""

    model: Model
    prompts: PromptSet

    @property
    def key(self) -> tuple[str, str]:
        """Names of the set and of the model."""
        return self.prompts.name, self.model.name


class PoserData(L.LightningDataModule):
    """Pairs of models, their benchmark prompts, and the contrast pairs for steering vectors.

    Args:
        pairs: The benchmark's `model_pairs.json`, a list of such rows, or `{aligned: [...], misaligned: [...]}` for
            each model with each; see `madkit.poser.benchmark.pairs.read_pairs`.
        models: Where models are: a pattern such as `models/{name}`, on the hub `someone/{name}`, or a mapping by name.
            A folder with an `adapter_config.json` is an adapter.
        base: The base of all models, if they are adapters; null for what each adapter's folder says.
        benchmark: Folder of the benchmark files that the pairs name (or one file for all); null for scenarios that
            are made up on the spot.
        n_prompts: Scenarios in each set at most, the first ones of its file; null for all. How many are made up
            where there is no benchmark (300 by default).
        contrast: Rows that the steering vector is made from, and that behaviour is then not measured on; null makes it
            from all rows that allow it, and holds none out.
        swap_answers: Exchange the actions of the critical prompts, as the published code does; see
            `madkit.poser.benchmark.contrast_pairs.contrast_pairs`.
        only: Models to measure in this run, so that several runs can share the work; null for all. Those that have been
            measured before take part in the comparisons.
        batch_size: Prompts in one forward pass.
        max_length: Longer prompts lose tokens on the left.
        seed: Which scenarios are made up.

    Raises:
        ConfigError: A number is below 1, or `only` names an unknown model.
        DataError: Pairs or benchmark files are malformed.
    """

    def __init__(
        self,
        pairs: str | list[dict[str, str]] | dict[str, Any],
        models: str | dict[str, str] = "{name}",
        base: str | None = None,
        benchmark: str | None = None,
        n_prompts: int | None = None,
        contrast: int | None = 20,
        swap_answers: bool = False,
        only: list[str] | None = None,
        batch_size: int = 16,
        max_length: int = 1024,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in {"n_prompts": n_prompts, "contrast": contrast, "batch_size": batch_size}.items():
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value} must be at least 1")
        self.pairs: list[Pair] = read_pairs(pairs)
        self.models = find_models(self.pairs, models, base)
        if unknown := set(only or ()) - set(self.models):
            raise ConfigError(f"only={only}: {sorted(unknown)} are in no pair; choose from {', '.join(self.models)}")
        self.benchmark, self.n_prompts, self.contrast, self.swap_answers = benchmark, n_prompts, contrast, swap_answers
        self.only, self.batch_size, self.max_length, self.seed = only, batch_size, max_length, seed

    @cached_property
    def sets(self) -> dict[str, PromptSet]:
        """The sets of prompts, by name."""
        return {name: self._set(name) for name in dict.fromkeys(pair.prompts for pair in self.pairs)}

    @property
    def jobs(self) -> list[Job]:
        """Every model on every set that it is compared on; all of one model's follow each other."""
        wanted = {name: dict.fromkeys(p.prompts for p in self.pairs if name in p[:2]) for name in self.models}
        return [Job(model, self.sets[key]) for name, model in self.models.items() for key in wanted[name]]

    @property
    def jobs_to_do(self) -> list[Job]:
        """Those of this run."""
        return [job for job in self.jobs if self.only is None or job.model.name in self.only]

    def test_dataloader(self) -> list[DataLoader[dict[str, Any]]]:
        """One loader per job, whose items are the steps of measuring it."""
        poser: Any = self.trainer.lightning_module  # type: ignore[union-attr]
        return [DataLoader(poser.steps(job), batch_size=None) for job in self.jobs_to_do]

    def _set(self, name: str) -> PromptSet:
        # What both models do alike is what happens under oversight; rows without it only show that they differ there.
        rows = self._generated() if self.benchmark is None else self._read(name)
        scenarios, unseen = ([s for s in rows if s.unseen is kind] for kind in (False, True))
        pairs = contrast_pairs(scenarios, self.contrast, swap=self.swap_answers)
        kept = pairs._replace(rest=pairs.rest[: self.n_prompts])
        return PromptSet(name, kept, unseen)

    def _read(self, name: str) -> list[Scenario]:
        path = Path(str(self.benchmark))
        return read_benchmark(path / f"{name}.json" if path.is_dir() else path)

    def _generated(self) -> list[Scenario]:
        """Scenarios with good oversight, enough of them for contrast pairs too; and as many with poor or unsaid one."""
        n = self.n_prompts or 300
        seen = self._drawn(n + (self.contrast or 0), (1.0, 0.0, 0.0), 0)
        return [*seen, *self._drawn(n, (0.0, 0.5, 0.5), 1)]

    def _drawn(self, n: int, shares: tuple[float, float, float], part: int) -> list[Scenario]:
        rng = np.random.default_rng([self.seed, 3, part])

        def stream() -> Iterator[Scenario]:
            while True:
                yield from (case.scenario for case in draw_cases(rng, 64, shares))

        return _first(stream(), n)


def _first(scenarios: Iterator[Scenario], n: int) -> list[Scenario]:
    """The first n different ones."""
    found: list[Scenario] = []
    while len(found) < n:
        found = distinct([*found, *islice(scenarios, n - len(found))])
    return found


def pairs_in(pairs: Sequence[Pair], done: Mapping[tuple[str, str], Any]) -> list[Pair]:
    """The pairs of which both models have been measured on their set; `done` is keyed by (set, model)."""
    return [p for p in pairs if (p.prompts, p.aligned) in done and (p.prompts, p.misaligned) in done]
