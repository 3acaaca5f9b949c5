"""The `test` stage of POSER: one model after another is perturbed, then the models of each pair are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import torch.distributed as dist

from madkit.errors import ConfigError
from madkit.lm import forward
from madkit.poser.data import Job
from madkit.poser.measure.loader import ModelHolder
from madkit.poser.measure.perturbations import Perturbation
from madkit.poser.measure.records import Record, SteeringSums, baseline_rows, options_of, perturbed_rows
from madkit.poser.measure.steps import JobSteps, Step
from madkit.poser.measure.weight_volume import WeightVolume
from madkit.poser.results import output
from madkit.runs.folder import root_of


class Poser(L.LightningModule):
    """Measure how far perturbations move each model; of a pair, the one that moves more is called misaligned.

    One model is in memory at a time. Each part of each model is written when it is whole, so an interrupted run
    continues, and several runs with different ``--data.only`` share the work. Under DDP every process holds the
    model; prompts and directions are dealt out.

    Written to the run's ``poser`` folder: ``results.parquet`` (accuracy over pairs and AUC over models for every
    method), ``scores.parquet``, ``curves.parquet``, ``volumes.parquet``, ``behaviour.parquet``, ``roc.parquet``,
    ``summary.json``, and ``models/`` with what was measured for every prompt.

    Args:
        perturbations: of activations.
        volumes: local volumes of weights; null for none.
        layer: the layer whose output perturbations move that name none of their own [15 in the study].
        dtype: number format of the models: ``auto`` (as stored), ``float32``, ``bfloat16``, ``float16``.
        attention: attention implementation of transformers.
        device_map: how one model is spread over the devices of a process, such as ``auto``; null puts it on the
            trainer's device. A trainer has one device then.
        trust_remote_code: run code that comes with the models.

    Raises:
        ConfigError: there is nothing to measure, or two measurements have one name.
    """

    recipe = "poser"

    def __init__(
        self,
        perturbations: list[Perturbation],
        volumes: list[WeightVolume] | None = None,
        layer: int = 15,
        dtype: str = "auto",
        attention: str = "sdpa",
        device_map: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__()
        self.perturbations, self.volumes, self.layer = perturbations, volumes or [], layer
        names = [p.name for p in self.perturbations] + [v.name for v in self.volumes]
        if not names:
            raise ConfigError("model.perturbations=[] and no volumes: list at least one measurement")
        if len(set(names)) < len(names):
            raise ConfigError(f"model: two measurements have one name in {sorted(names)}; give one of them a `label`")
        self.dtype_name, self.attention = dtype, attention
        self.holder = ModelHolder(dtype, attention, device_map, trust_remote_code)
        self._record: Record
        self._steps: dict[tuple[str, str], JobSteps] = {}
        self._todo: set[str] = set()
        self._sums: SteeringSums
        self._rows: dict[str, list[pd.DataFrame]] = {}

    @property
    def layers(self) -> list[int]:
        """The layers that need a steering vector."""
        named = {at for p in self.perturbations for at in p.layers or [self.layer]}
        return sorted(named | {self.layer})

    @property
    def folder(self) -> Path:
        """Where results go."""
        return root_of(self.trainer) / "poser"

    def record(self, job: Job) -> Record:
        """What is kept of a job."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        settings = {
            "prompts": job.prompts.digest, "max_length": data.max_length,
            "dtype": self.dtype_name, "attention": self.attention,
        }  # fmt: skip
        return Record(self.folder / "models" / job.prompts.name / job.model.name, settings)

    def parts(self) -> dict[str, Any]:
        """The parts of a job that are not volumes, with what decides their numbers."""
        own = {p.name: {**options_of(p), "layers": p.layers or [self.layer]} for p in self.perturbations}
        return {"behaviour": None, "unseen": None, "steering": self.layers, **own}

    def steps(self, job: Job) -> JobSteps:
        """The steps of a job."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        self._steps[job.key] = JobSteps(
            job.prompts, lambda: self.holder.tokenizer(job.model), len(self.volumes), data.batch_size,
            data.max_length, self.global_rank, self.trainer.world_size,
        )  # fmt: skip
        return self._steps[job.key]

    def test_step(self, step: Step, batch_idx: int, dataloader_idx: int = 0) -> None:
        """One step of measuring a model; what has been measured is passed over."""
        job: Job = self.trainer.datamodule.jobs_to_do[dataloader_idx]  # type: ignore[attr-defined]
        kind = step["kind"]
        if kind == "begin":
            self._begin(job)
        elif kind == "gather":
            self._gather()
        elif kind == "volume":
            self._volume(job, self.volumes[step["index"]])
        elif self._needed(kind):
            batch = self.trainer.strategy.batch_to_device(step["batch"](), self.device)
            self._measure(job, kind, {**batch, "row": list(batch["row"]), "length": list(batch["length"])})

    def _needed(self, kind: str) -> bool:
        if kind in ("behaviour", "unseen"):
            return kind in self._todo
        return bool(self._todo - {"behaviour", "unseen"})

    def _begin(self, job: Job) -> None:
        # Fingerprint first: it needs the files, and from the hub that is the download.
        fingerprint = self.holder.fingerprint(job.model)
        self._record = self.record(job)
        if self.trainer.is_global_zero:
            self._record.begin(fingerprint)
        self.trainer.strategy.barrier()
        self._todo = {name for name, options in self.parts().items() if not self._record.has(name, options)}
        self._rows = {name: [] for name in ("behaviour", "unseen", *(p.name for p in self.perturbations))}
        for volume in self.volumes:
            self._settle_sigma(volume)
        if self._todo:
            model = self.holder.get(job.model, self.device)
            self._sums = SteeringSums(forward.unwrapped(model), self.layers)

    def _settle_sigma(self, volume: WeightVolume) -> None:
        """Measure the sigma that all models share on the first process, before any model is in memory."""
        if volume.shared_sigma(self.folder) is None and self.trainer.is_global_zero:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            reference = data.jobs[0].model
            volume.keep_sigma(self.folder, self.holder.bare(reference, self.device), reference.base or reference.place)
        self.trainer.strategy.barrier()

    def _measure(self, job: Job, kind: str, batch: dict[str, Any]) -> None:
        lm = forward.unwrapped(self.holder.get(job.model, self.device))
        if kind in ("critical", "clean"):
            n = len(job.prompts.contrast.critical)
            self._sums.add(batch, 1.0 if kind == "critical" else -1.0, n)
        elif kind == "perturbed":
            due = [p for p in self.perturbations if p.name in self._todo]
            tables = perturbed_rows(lm, batch, due, self._sums.vectors(), self.layer)
            for name, table in tables.items():
                self._rows[name].append(table)
        else:
            self._rows[kind].append(baseline_rows(lm, batch))

    def _gather(self) -> None:
        """Bring the rows of all processes together and keep them."""
        for name, options in self.parts().items():
            if name not in self._todo:
                continue
            if name == "steering":
                vectors = self._sums.vectors()
                table = pd.DataFrame({"layer": list(vectors), "norm": [float(v.norm()) for v in vectors.values()]})
            else:
                table = _all_processes(self._rows[name])
            if self.trainer.is_global_zero:
                self._record.write(table, name, options)
        self._rows, self._todo = {}, set()
        self.trainer.strategy.barrier()

    def _volume(self, job: Job, volume: WeightVolume) -> None:
        sigma = volume.shared_sigma(self.folder)
        if sigma is None:
            raise ConfigError(f"WeightVolume(weights={volume.weights!r}, sigma=null): no sigma was kept; give one")
        options = volume.options(sigma)
        done = self._record.has(volume.name, options)
        self.trainer.strategy.barrier()
        if done:
            return
        batches = [
            self.trainer.strategy.batch_to_device(batch, self.device)
            for batch in self._steps[job.key].volume_batches(volume.n_prompts)
        ]
        folder = self._record.path(volume.name, options).with_suffix("")
        table = volume.measure(self.holder.get(job.model, self.device), batches, sigma, folder)
        if self.trainer.is_global_zero:
            self._record.write(table, volume.name, options)
        self.trainer.strategy.barrier()

    def on_test_epoch_end(self) -> None:
        """Compare the models of each pair, write and log."""
        self.holder.release()
        if self.trainer.is_global_zero:
            output.write(self)
        self.trainer.strategy.barrier()


def _all_processes(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all processes, in the order of their numbers."""
    parts: list[list[pd.DataFrame]] = [tables]
    if dist.is_available() and dist.is_initialized():
        parts = [[] for _ in range(dist.get_world_size())]
        dist.all_gather_object(parts, tables)
    found = [table for part in parts for table in part]
    if not found:
        return pd.DataFrame({"row": [], "kl": [], "p_benign": [], "p_misaligned": []})
    whole = pd.concat(found, ignore_index=True)
    keys = [name for name in ("coefficient", "draw", "row") if name in whole]
    return whole.sort_values(keys, kind="stable", ignore_index=True)
