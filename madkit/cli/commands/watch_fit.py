"""`madkit watch fit`: a monitor of a model, from a file of trusted prompts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from madkit.cli.quiet import quiet
from madkit.detection.detector import Detector
from madkit.errors import ConfigError
from madkit.features import Feature
from madkit.monitoring import Monitor
from madkit.monitoring.monitor_folder import require_free
from madkit.monitoring.prompt_source import read_prompts
from madkit.runs.lock import locked


def watch_fit(
    model: str | None = None,
    trusted: str | None = None,
    out: str | None = None,
    adapter: str | None = None,
    adapter_base: str | None = None,
    reference: str | None = None,
    column: str | None = None,
    split: str | None = None,
    features: list[Feature] | None = None,
    detector: Detector | None = None,
    aggregation: str = "zscore",
    calibration: int | float | None = None,
    dtype: str = "auto",
    device_map: str | None = None,
    revision: str | None = None,
    attention: str = "auto",
    max_length: int | None = None,
    batch_size: int = 16,
    new_tokens: int = 0,
    generation: dict[str, Any] | None = None,
    seed: int = 0,
    trust_remote_code: bool = False,
) -> int:
    """Fit a monitor on trusted prompts; a part of them is held out by itself, and says what can be promised.

    Args:
        model: A hub name, a folder or a GGUF file: a whole model, or the base of the adapter.
        trusted: Prompts that the model is trusted on: a file (.txt, a prompt a line; JSONL, CSV or parquet with a
            column prompt, or messages for chats), a folder or a dataset of the hub.
        out: The folder for the monitor; one that is there is replaced.
        adapter: Folder or hub name of a PEFT adapter.
        adapter_base: What the adapter calls its base, if that is the model under another name.
        reference: The model that a merged or fully tuned one was made of, to compare with.
        column: The column of the prompts, if it is neither prompt nor messages.
        split: Of a dataset with several.
        features: What is read; by default the activations that enter every third layer.
        detector: What is made of it, {feature, score}; by default the first choice of docs/detectors.md for what is
            at hand, and it says which and why.
        aggregation: How the scores of all sites become one.
        calibration: How many prompts, or which share, to hold out for p-values; by default a third, and as many as a
            promise of 1% needs.
        dtype: Number format of the weights: auto (as stored), float32, bfloat16 or float16.
        device_map: How layers are spread over devices, such as auto for several GPUs.
        revision: Branch, tag or commit of the model on the hub.
        attention: Attention implementation of transformers; auto is the best that the architecture has.
        max_length: Longer prompts lose tokens on the left; by default the model's context.
        batch_size: Prompts in one forward pass.
        new_tokens: How many tokens of a response a monitor that is attached to the model is to promise for.
        generation: How the model answers then, as generate of transformers takes it, such as '{do_sample: true}'.
        seed: Which prompts are held out.
        trust_remote_code: Run code that comes with the model.
    """
    for option, value in {"model": model, "trusted": trusted, "out": out}.items():
        if not value:
            raise ConfigError(f"{option} is missing: give --{option}; see `madkit watch fit --help`")
    assert model and trusted and out  # noqa: S101 - for the type checker; the loop above has made sure
    quiet()
    folder = Path(out).absolute()
    require_free(folder)
    prompts = read_prompts(trusted, "trusted", column, split)
    with locked(folder.with_name(f".{folder.name}.lock"), "madkit watch fit"):
        monitor = Monitor.fit(
            model,
            None,
            prompts,
            adapter=adapter,
            adapter_base=adapter_base,
            reference=reference,
            features=features,
            detector=detector,
            aggregation=aggregation,
            calibration=calibration,
            dtype=dtype,
            device_map=device_map,
            revision=revision,
            attention=attention,
            max_length=max_length,
            batch_size=batch_size,
            new_tokens=new_tokens,
            generation=generation,
            seed=seed,
            trust_remote_code=trust_remote_code,
            progress=sys.stderr.isatty(),
        )
        monitor.save(folder)
    print(monitor.description, file=sys.stderr)
    print(out)
    return 0
