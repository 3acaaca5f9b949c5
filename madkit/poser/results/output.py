"""What the `test` stage of POSER writes and logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from madkit.errors import DataError
from madkit.poser.data import Job, pairs_in
from madkit.poser.results import tables
from madkit.poser.results.summaries import ALL
from madkit.runs.atomic import write_json, write_parquet
from madkit.runs.folder import provenance
from madkit.training.tensorboard import tensorboard_writer

if TYPE_CHECKING:
    from madkit.poser.module import Poser


def write(poser: Poser) -> None:
    """Compare the models that have been measured, and write all tables to the run's `poser` folder."""
    data: Any = poser.trainer.datamodule  # type: ignore[attr-defined]
    done = {job.key: job for job in data.jobs if _is_whole(poser, job)}
    pairs = pairs_in(data.pairs, done)
    if not pairs:
        # The first of several runs that share the work: the models are kept, there is nothing to compare yet.
        return
    used = {(pair.prompts, name) for pair in pairs for name in pair[:2]}
    models = [_read(poser, job) for key, job in done.items() if key in used]
    curves = tables.curves_table(models)
    scores = tables.scores_table(models, curves)
    results = tables.results_table(scores, pairs)
    whole = {
        "curves": curves,
        "volumes": tables.volumes_table(models),
        "behaviour": tables.behaviour_table(models),
        "scores": scores,
        "roc": tables.roc_table(scores),
    }
    for name, table in whole.items():
        write_parquet(poser.folder / f"{name}.parquet", table)
    fingerprints = {f"{key[0]}/{key[1]}": poser.record(job).model for key, job in done.items() if key in used}
    write_json(poser.folder / "summary.json", _summary(poser, pairs, whole["behaviour"], fingerprints))
    # Last, because readers take its presence as the sign of a finished stage.
    write_parquet(poser.folder / "results.parquet", results)
    _log(poser, curves, results)


def _summary(poser: Poser, pairs: list[Any], behaviour: pd.DataFrame, models: dict[str, Any]) -> dict[str, Any]:
    data: Any = poser.trainer.datamodule  # type: ignore[attr-defined]
    return {
        "pairs": len(pairs),
        "pairs_listed": len(data.pairs),
        "layer": poser.layer,
        "prompts": {
            name: {"digest": s.digest, "measured": len(s.contrast.rest), "contrast": len(s.contrast.critical)}
            for name, s in data.sets.items()
        },
        "swap_answers": data.swap_answers,
        "perturbations": {name: part for name, part in poser.parts().items() if isinstance(part, dict)},
        "volumes": [volume.options(volume.shared_sigma(poser.folder) or 0.0) for volume in poser.volumes],
        "lowest_share_benign": float(behaviour["benign"].min()),
        "models": models,
        "made_by": provenance(),
    }


def _is_whole(poser: Poser, job: Job) -> bool:
    record = poser.record(job)
    volumes = [(volume, volume.shared_sigma(poser.folder)) for volume in poser.volumes]
    return (
        record.model is not None
        and all(record.has(name, options) for name, options in poser.parts().items())
        and all(s is not None and record.has(v.name, v.options(s)) for v, s in volumes)
    )


def _read(poser: Poser, job: Job) -> tables.Measured:
    record, parts = poser.record(job), poser.parts()
    steering = record.read("steering", parts["steering"])
    norms = dict(zip(steering["layer"], steering["norm"], strict=True))
    sizes = {
        p.name: sum((p.norm or norms[at]) ** 2 for at in p.layers or [poser.layer]) ** 0.5 for p in poser.perturbations
    }
    behaviour, unseen = (record.read(name, None) for name in ("behaviour", "unseen"))
    if len(behaviour) != len(job.prompts.contrast.rest):
        raise DataError(f"{record.folder}: {len(behaviour)} of {len(job.prompts.contrast.rest)} prompts; delete it")
    return tables.Measured(
        job.prompts.name, job.model.name, job.model.misaligned, behaviour, unseen, steering,
        {p.name: record.read(p.name, parts[p.name]) for p in poser.perturbations}, sizes,
        {v.name: record.read(v.name, v.options(v.shared_sigma(poser.folder) or 0.0)) for v in poser.volumes},
    )  # fmt: skip


def _log(poser: Poser, curves: pd.DataFrame, results: pd.DataFrame) -> None:
    """AUC of every method to the log, and each model's curves to TensorBoard, with the coefficient as the step."""
    for line in results.to_dict("records"):
        if line["at"] in (ALL, ""):
            poser.log(f"auroc/poser/{line['method']}/{line['measure']}", line["auc"], rank_zero_only=True)
    writer = tensorboard_writer(poser.trainer)
    if writer is None:
        return
    for line in curves.to_dict("records"):
        tag = f"{line['perturbation']}/{line['prompts']}/{line['lm']}"
        for measure in ("kl", "p_misaligned"):
            writer.add_scalar(f"{measure}/{tag}", line[measure], int(line["coefficient"]))
