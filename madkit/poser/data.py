"""PoserData: pairs of models and the prompts on which the two of a pair behave the same."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from typing_extensions import override

from madkit.data.distributed import RankAwareDataModule
from madkit.errors import ConfigError
from madkit.poser.benchmark.benchmark_file import distinct, read_benchmark
from madkit.poser.benchmark.contrast_pairs import contrast_pairs
from madkit.poser.benchmark.model_pairs import ModelPair, PairedModel, models_of, read_pairs
from madkit.poser.benchmark.scenario import Scenario
from madkit.poser.benchmark.scenario_prompts import ScenarioPrompts
from madkit.poser.family.scenario_generator import draw_cases


@dataclass(frozen=True)
class Job:
    """One model on one set of prompts.

    Attributes:
        model: the model.
        prompts: the set of prompts.
    """

    model: PairedModel
    prompts: ScenarioPrompts

    def __str__(self) -> str:
        return f"{self.model.name} on {self.prompts.name}"

    @property
    def key(self) -> tuple[str, str]:
        """Names of the set and of the model."""
        return self.prompts.name, self.model.name


class PoserData(RankAwareDataModule):
    """Pairs of models, their benchmark prompts, and the contrast pairs for steering vectors.

    Args:
        pairs: the benchmark's `model_pairs.json`, a list of such rows, or `{aligned: [...], misaligned: [...]}` for
            each model with each; see `madkit.poser.benchmark.model_pairs.read_pairs`.
        models: where models are: a pattern such as `models/{name}`, on the hub `someone/{name}`, or a mapping by name.
            A folder with an `adapter_config.json` is an adapter.
        base: the base of all models, if they are adapters; null for what each adapter's folder says.
        benchmark: folder of the benchmark files that the pairs name (or one file for all); null for generated
            scenarios.
        n_prompts: most scenarios in each set, the first ones of its file; null for all. How many are generated where
            there is no benchmark (300 by default).
        contrast: rows for the steering vector, on which behaviour is then not measured; null takes all rows that allow
            it, and holds none out.
        swap_answers: exchange the actions of the critical prompts, as the published code does; see
            `madkit.poser.benchmark.contrast_pairs.contrast_pairs`.
        only: models to measure in this run, so that several runs can share the work; null for all. Those that have been
            measured before take part in the comparisons, unless their weights have changed since.
        batch_size: prompts in one forward pass.
        max_length: longer prompts lose tokens on the left.
        seed: which scenarios are generated.

    Raises:
        ConfigError: a number is below 1, or `only` names an unknown model.
        DataError: pairs or benchmark files are malformed.
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
        self.pairs: list[ModelPair] = read_pairs(pairs)
        self.models = models_of(self.pairs, models, base)
        if unknown := set(only or ()) - set(self.models):
            raise ConfigError(f"only={only}: {sorted(unknown)} are in no pair; choose from {', '.join(self.models)}")
        self.benchmark, self.n_prompts, self.contrast, self.swap_answers = benchmark, n_prompts, contrast, swap_answers
        self.only, self.batch_size, self.max_length, self.seed = only, batch_size, max_length, seed

    @cached_property
    def sets(self) -> dict[str, ScenarioPrompts]:
        """The sets of prompts, by name."""
        return {name: self._set(name) for name in dict.fromkeys(pair.prompts for pair in self.pairs)}

    @property
    def jobs(self) -> list[Job]:
        """Every model on every set that it is compared on; all of one model's follow each other."""
        sets = {name: dict.fromkeys(p.prompts for p in self.pairs if name in p[:2]) for name in self.models}
        return [Job(model, self.sets[key]) for name, model in self.models.items() for key in sets[name]]

    @property
    def jobs_to_do(self) -> list[Job]:
        """Those of this run."""
        return [job for job in self.jobs if self.only is None or job.model.name in self.only]

    def pairs_of(self, keys: Collection[tuple[str, str]]) -> list[ModelPair]:
        """The pairs both models of which are among some jobs.

        Args:
            keys: those of the jobs.
        """
        return [p for p in self.pairs if (p.prompts, p.aligned) in keys and (p.prompts, p.misaligned) in keys]

    def test_dataloader(self) -> DataLoader[Job]:
        """The jobs of this run, one after the other; every process of several works on each of them.

        Raises:
            ConfigError: Lightning would share the jobs between processes.
        """
        _ = self._world
        # A list has all that a dataset needs: a length and items.
        return DataLoader(cast("Dataset[Job]", self.jobs_to_do), batch_size=None)

    @override
    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch  # a job names a model and prompts and holds no tensors

    def _set(self, name: str) -> ScenarioPrompts:
        # Both models behave the same under oversight only; rows without it show whether they differ there.
        rows = self._generated() if self.benchmark is None else self._read(name)
        scenarios, unseen = ([s for s in rows if s.unseen is without] for without in (False, True))
        pairs = contrast_pairs(scenarios, self.contrast, swap=self.swap_answers)
        return ScenarioPrompts(name, pairs._replace(rest=pairs.rest[: self.n_prompts]), unseen)

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
    first: list[Scenario] = []
    while len(first) < n:
        first = distinct([*first, *islice(scenarios, n - len(first))])
    return first
