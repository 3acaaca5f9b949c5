"""The `test` stage of POSER: one model after another is perturbed, then the models of each pair are compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.utilities import rank_zero_warn

from madkit.errors import ConfigError, DataError, StoreError
from madkit.lm import forward
from madkit.poser.data import Job, PoserData
from madkit.poser.measure.answer_tables import baseline_table, gathered, perturbed_table
from madkit.poser.measure.job_folder import JobFolder
from madkit.poser.measure.model_loader import ModelLoader
from madkit.poser.measure.perturbations import Perturbation
from madkit.poser.measure.repeated_batch import RepeatedBatch
from madkit.poser.measure.scenario_batches import Batch, ScenarioBatches
from madkit.poser.measure.steering_vectors import SteeringVectors
from madkit.poser.measure.weight_noise import WeightNoise
from madkit.poser.measure.weight_volume import WeightVolume
from madkit.poser.results import output
from madkit.poser.results.tables import MeasuredModel
from madkit.runs.atomic import write_json
from madkit.runs.fingerprints import digest
from madkit.runs.folder import root_of
from madkit.runs.lock import locked
from madkit.runs.progress import progress
from madkit.training.lightning_internals import datamodule_of


class Poser(L.LightningModule):
    """Measure how far perturbations move each model; of a pair, the one that moves more is called misaligned.

    One model is in memory at a time. Each part of its measurements is written once it is complete, so an interrupted
    run continues, and several runs with different ``--data.only`` share the work. Under DDP every process holds the
    model; they share its prompts and directions.

    Written to the run's ``poser`` folder: ``results.parquet`` (accuracy over pairs and AUC over models for every
    method), ``scores.parquet``, ``curves.parquet``, ``volumes.parquet``, ``noise.parquet``, ``behaviour.parquet``,
    ``roc.parquet`` and ``summary.json``; to its ``models`` folder what was measured for every prompt.

    Args:
        perturbations: of activations.
        volumes: local volumes of weights; null for none.
        noises: Gaussian noise on weights, under which a model that holds back may do better; null for none.
        layer: the layer whose output is moved by perturbations that name no layers [15 in the study].
        dtype: number format of the models: ``auto`` (as stored), ``float32``, ``bfloat16``, ``float16``, ``4bit``,
            ``8bit``.
        attention: attention implementation of transformers; ``auto`` is the best that the architecture has.
        device_map: how one model is spread over the devices of a process, such as ``auto``; null puts it on the
            trainer's device. A trainer has one device then.
        trust_remote_code: run code that comes with the models.
        adapter_base: name or fingerprint of the base that adapters were trained on, if the base that is named has the
            same weights and nothing says so.

    Raises:
        ConfigError: there is nothing to measure, or two measurements have one name.
    """

    recipe = "poser"
    #: Several runs share the work on one folder; each locks what it measures.
    shares_run = True

    def __init__(
        self,
        perturbations: list[Perturbation],
        volumes: list[WeightVolume] | None = None,
        noises: list[WeightNoise] | None = None,
        layer: int = 15,
        dtype: str = "auto",
        attention: str = "auto",
        device_map: str | None = None,
        trust_remote_code: bool = False,
        adapter_base: str | None = None,
    ) -> None:
        super().__init__()
        self.perturbations, self.volumes, self.noises, self.layer = perturbations, volumes or [], noises or [], layer
        names = [each.name for each in self.perturbations] + [each.name for each in self.volumes]
        names += [each.name for each in self.noises]
        if not names:
            raise ConfigError("model.perturbations=[], and no volumes and noises: list at least one measurement")
        if len(set(names)) < len(names):
            raise ConfigError(f"model: two measurements have one name in {sorted(names)}; give one of them a `label`")
        self.dtype_name, self.attention = dtype, attention
        self.loader = ModelLoader(dtype, attention, device_map, trust_remote_code, adapter_base)
        self._sigmas: dict[str, float] = {}

    @property
    def layers(self) -> list[int]:
        """The layers that need a steering vector."""
        named = {at for p in self.perturbations for at in p.layers or [self.layer]}
        return sorted(named | {self.layer})

    @property
    def data(self) -> PoserData:
        """The models and prompts.

        Raises:
            ConfigError: the data of this run are not those of POSER.
        """
        return datamodule_of(self, PoserData)

    @property
    def folder(self) -> Path:
        """Where results go."""
        return root_of(self.trainer) / "poser"

    def job_folder(self, job: Job) -> JobFolder:
        """The folder of a job's measurements, with what decides all of their numbers."""
        settings = {
            "prompts": job.prompts.digest, "max_length": self.data.max_length,
            "dtype": self.dtype_name, "attention": self.attention,
        }  # fmt: skip
        return JobFolder(self.folder / "models" / job.prompts.name / job.model.name, settings)

    @property
    def parts(self) -> dict[str, Any]:
        """The parts of each job's measurements, with what else decides their numbers."""
        return {
            "steering": {"layers": self.layers, "norms": ["steering", "activation"]},
            "behaviour": None,
            "unseen": None,
            **{p.name: p.options(self.layer) for p in self.perturbations},
            **{v.name: v.options(self._sigmas[v.name]) for v in self.volumes},
            **{n.name: n.options for n in self.noises},
        }

    def on_test_start(self) -> None:
        """Remove the results of an earlier run, and settle the sigma that all models share."""
        if self.trainer.is_global_zero:
            output.remove_results(self.folder)
        self._sigmas = {volume.name: self._sigma(volume) for volume in self.volumes}

    def test_step(self, job: Job, batch_idx: int) -> None:
        """Measure one model on one set of prompts: each part that is missing, written as soon as it is complete."""
        with ExitStack() as stack:
            if self.trainer.is_global_zero:
                stack.enter_context(self.job_folder(job).lock())
            self._measure(job)

    def _measure(self, job: Job) -> None:
        folder, parts = self.job_folder(job), self.parts
        if self.trainer.is_global_zero:
            folder.start(self.loader.fingerprint(job.model))
            for volume in self.volumes:
                if self._is_spoilt(folder, volume):
                    folder.remove(volume.name, parts[volume.name])
        self.trainer.strategy.barrier()
        missing = [name for name, options in parts.items() if not folder.has(name, options)]
        self.trainer.strategy.barrier()  # no process writes before all have looked
        if not missing:
            return

        def write(name: str, table: pd.DataFrame) -> None:
            if self.trainer.is_global_zero:
                folder.write(table, name, parts[name])

        model = self.loader.load(job.model, self.device)
        lm, tokenizer, prompts = forward.unwrapped(model), self.loader.tokenizer(job.model), job.prompts
        tokenized = partial(ScenarioBatches, tokenizer, max_length=self.data.max_length, size=self.data.batch_size)
        measured = tokenized(prompts.measured)
        perturbations = [p for p in self.perturbations if p.name in missing]

        steering = SteeringVectors(lm, self.layers)
        if perturbations or "steering" in missing:
            for sign, texts in ((1.0, prompts.contrast.critical), (-1.0, prompts.contrast.clean)):
                for batch in self._batches(tokenized(texts), f"{job}: steering vectors", shared=False):
                    steering.add(batch, sign / len(texts))
            if "steering" in missing:
                write("steering", steering.norms())
        vectors = steering.vectors()

        for name, batches in (("behaviour", measured), ("unseen", tokenized(prompts.unseen))):
            if name in missing:
                tables = [
                    baseline_table(RepeatedBatch(lm, batch, cached=False))
                    for batch in self._batches(batches, f"{job}: {name}")
                ]
                write(name, gathered(tables))

        for tokens in ("last", "all"):  # those that move the same tokens share a batch's first pass
            sharing = {p.name: p for p in perturbations if p.tokens == tokens}
            tables_of: dict[str, list[pd.DataFrame]] = {name: [] for name in sharing}
            for batch in self._batches(measured, f"{job}: {', '.join(sharing)}") if sharing else ():
                repeated = RepeatedBatch(lm, batch, cached=tokens == "last")
                for name, perturbation in sharing.items():
                    table = perturbed_table(repeated, perturbation, vectors, self.layer)
                    tables_of[name].append(table)
            for name, tables in tables_of.items():
                write(name, gathered(tables))

        for volume in self.volumes:
            if volume.name in missing:
                chosen = tokenized(prompts.measured[: volume.n_prompts])
                on_device = list(self._batches(chosen, f"{job}: {volume.name}", shared=False))
                directions = folder.part(volume.name, parts[volume.name]).with_suffix("")
                write(volume.name, volume.measure(model, on_device, self._sigmas[volume.name], directions))
        for noise in self.noises:
            if noise.name in missing:
                chosen = tokenized(prompts.measured[: noise.n_prompts])
                on_device = list(self._batches(chosen, f"{job}: {noise.name}"))
                write(noise.name, gathered(noise.measure(model, on_device)))
        self.trainer.strategy.barrier()

    def on_test_epoch_end(self) -> None:
        """Compare the models of each pair, write and log."""
        self.loader.release()
        if self.trainer.is_global_zero:
            self._compare()
        self.trainer.strategy.barrier()

    def _sigma(self, volume: WeightVolume) -> float:
        """The sigma of a volume: the recipe's, or else one of the first model, which is measured once for all runs."""
        if volume.sigma is not None:
            return volume.sigma
        reference = self.data.jobs[0].model
        model = self.loader.base_fingerprint(reference)
        made_by = {"model": model, "dtype": self.dtype_name, "weights": volume.weights}
        path = self.folder / f"sigma-{digest(made_by)[:8]}.json"
        if self.trainer.is_global_zero:
            with locked(path.with_suffix(".lock"), "madkit test", wait=True):
                if _sigma_in(path) is None:
                    lm = self.loader.load_base(reference, self.device)
                    sigma = volume.reference_sigma(lm, reference.base or reference.path)
                    write_json(path, {"sigma": sigma, "made_by": made_by})
        self.trainer.strategy.barrier()
        found = _sigma_in(path)
        if found is None:
            raise StoreError(f"{str(path)!r} is damaged; repeat `madkit test`, which makes it anew")
        return found

    def _batches(self, batches: ScenarioBatches, what: str, *, shared: bool = True) -> Iterator[Batch]:
        """Batches on this process' device: its share of them or, if they are not shared, all of them."""
        first, step = (self.global_rank, self.trainer.world_size) if shared else (0, 1)
        shown = self.trainer.is_global_zero and self.trainer.progress_bar_callback is not None
        for index in progress(range(first, len(batches), step), what, shown=shown):
            yield move_data_to_device(batches[index], self.device)

    def _compare(self) -> None:
        data = self.data
        complete = {job.key: job for job in data.jobs if self._is_complete(job)}
        pairs = data.pairs_of(complete)
        if not pairs:
            # The first of several runs that share the work: the models are kept, there is nothing to compare yet.
            return
        compared = {(pair.prompts, name) for pair in pairs for name in pair[:2]}
        jobs = [job for key, job in complete.items() if key in compared]
        summary = {
            "pairs": len(pairs),
            "pairs_listed": len(data.pairs),
            "layer": self.layer,
            "prompts": {
                name: {"digest": s.digest, "measured": len(s.measured), "contrast": len(s.contrast.critical)}
                for name, s in data.sets.items()
            },
            "swap_answers": data.swap_answers,
            "perturbations": {p.name: p.options(self.layer) for p in self.perturbations},
            "volumes": [v.options(self._sigmas[v.name]) for v in self.volumes],
            "noises": [n.options for n in self.noises],
            "models": {"/".join(job.key): self.job_folder(job).model for job in jobs},
        }
        tables = output.write_results(self.folder, [self._measured(job) for job in jobs], pairs, summary)
        output.log_results(self, tables["curves"], tables["results"])

    def _is_complete(self, job: Job) -> bool:
        """Whether all of a job's measurements are there, and are of the model as it is now.

        What another run has measured may be of a model that has changed since: it takes no part, and is named. A model
        that is not on this machine cannot be asked.
        """
        folder = self.job_folder(job)
        if folder.model is None or not all(folder.has(name, options) for name, options in self.parts.items()):
            return False
        if any(self._is_spoilt(folder, volume) for volume in self.volumes):
            return False
        now = self.loader.fingerprint_here(job.model)
        if now is None:
            rank_zero_warn(
                f"{job}: the model cannot be read on this machine, so it takes part as it was measured (fingerprint "
                f"{folder.model}); if it has changed since, measure it anew where it is (`--data.only`)"
            )
        elif now != folder.model:
            rank_zero_warn(
                f"{job}: takes no part, because it was measured with other weights or another tokenizer (fingerprint "
                f"{folder.model}, now {now}); name it in `--data.only` too, or leave that out, and it is measured anew"
            )
        return now in (None, folder.model)

    def _is_spoilt(self, folder: JobFolder, volume: WeightVolume) -> bool:
        """Whether the part of a volume has to be measured again, though it is complete."""
        options = self.parts[volume.name]
        return folder.has(volume.name, options) and not volume.is_whole(folder.read(volume.name, options))

    def _measured(self, job: Job) -> MeasuredModel:
        """All measurements of a job, from its folder."""
        folder = self.job_folder(job)
        tables = {name: folder.read(name, options) for name, options in self.parts.items()}
        if len(tables["behaviour"]) != len(job.prompts.measured):
            n = len(tables["behaviour"])
            raise DataError(f"{folder.path}: {n} of {len(job.prompts.measured)} prompts; delete it")
        norms = dict(zip(tables["steering"]["layer"], tables["steering"]["norm"], strict=True))
        return MeasuredModel(
            job.prompts.name, job.model.name, job.model.misaligned,
            tables["behaviour"], tables["unseen"], tables["steering"],
            {p.name: tables[p.name] for p in self.perturbations},
            {p.name: p.size(norms, self.layer) for p in self.perturbations},
            {v.name: tables[v.name] for v in self.volumes},
            {n.name: tables[n.name] for n in self.noises},
        )  # fmt: skip


def _sigma_in(path: Path) -> float | None:
    try:
        return float(json.loads(path.read_text())["sigma"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
