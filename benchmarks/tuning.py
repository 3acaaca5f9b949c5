"""One LoRA step of `madkit fit` against `transformers.Trainer` with `peft`: same model, prompts, batches and optimizer.

    python benchmarks/tuning.py            # 8B-shaped in bf16 on a GPU, a small Llama in float32 on a CPU
    python benchmarks/tuning.py --size cpu

Both sides train the same random weights on the same micro-batches of quirky prompts, in separate processes that
take turns, so that peak memory is that of one side and a drift of the machine's speed hits both. Printed: median time
of an optimizer step, tokens a second, peak memory, their ratios and, on a GPU, the share of its matrix rate that a step
reaches.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

SIZES: dict[str, dict[str, Any]] = {
    "cpu": {
        "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6, "num_attention_heads": 8,
        "num_key_value_heads": 4, "vocab_size": 32000,
    },
    "8b": {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128256, "rope_theta": 500000.0,
    },
}  # fmt: skip
LORA = {"r": 8, "target_modules": ["gate_proj", "up_proj", "down_proj", "q_proj", "k_proj", "v_proj"]}
SETTINGS = {"lr": 2e-5, "betas": (0.9, 0.95), "weight_decay": 0.1}
WARMUP = 3


def make_model(size: str) -> Any:
    """Random weights of the given shape: bf16 on a GPU, float32 on a CPU."""
    from transformers import AutoConfig, AutoModelForCausalLM

    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = AutoConfig.for_model("llama", **SIZES[size], use_cache=False)
    torch.manual_seed(0)
    with torch.device(device):
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")


def make_tokenizer() -> Any:
    """A byte-level tokenizer: its tokens are ids of any larger vocabulary too."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<end>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")


def make_data(options: argparse.Namespace) -> Any:
    """Quirky addition; choices that differ in their first byte."""
    from madkit.data.quirky.quirky_data import QuirkyData

    prompts = min(20 * options.batch * options.steps, 4000)
    folder = Path(tempfile.mkdtemp())
    make_tokenizer().save_pretrained(folder)
    template = folder / "template.yaml"
    template.write_text(
        'template: "Name: {name}\\nStatement: {op1} + {op2} = {result}\\nIs it true? Answer:\\n"\n'
        'choices: ["No", "Yes"]\n'
    )
    return QuirkyData(
        "addition", template=str(template), task_options={"n_train": prompts, "n_validation": prompts // 10},
        batch_size=options.batch, device_batch_size=options.micro, tokenizer=str(folder),
    )  # fmt: skip


class Clock:
    """Times of optimizer steps, measured where the device has finished."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def tick(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())


def run_madkit(options: argparse.Namespace, clock: Clock) -> None:
    import lightning as L

    from madkit.lm.adapters import FreshLora
    from madkit.lm.quirky_lm import QuirkyLM
    from madkit.training.lightning_internals import is_accumulating

    class RandomQuirkyLM(QuirkyLM):
        def build(self) -> Any:
            return FreshLora(make_model(options.size), LORA).model

        def configure_callbacks(self) -> list[Any]:
            return []

    class Steps(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            if not is_accumulating(trainer):
                clock.tick()

    module = RandomQuirkyLM(
        "", optimizer=lambda p: torch.optim.AdamW(p, **SETTINGS), gradient_checkpointing=options.checkpointing
    )
    trainer = L.Trainer(
        max_steps=options.steps, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, callbacks=[Steps()], use_distributed_sampler=False,
        precision="bf16-mixed" if torch.cuda.is_available() else "32-true", gradient_clip_val=None,
    )  # fmt: skip
    trainer.fit(module, datamodule=make_data(options))


def run_trainer(options: argparse.Namespace, clock: Clock) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import Trainer, TrainerCallback, TrainingArguments

    data = make_data(options)
    data.setup("fit")
    batches = [
        batch
        for batch, _ in zip(
            data.train_dataloader(), range(options.steps * options.batch // options.micro), strict=False
        )
    ]
    rows = [(batch, i) for batch in batches for i in range(len(batch["answer"]))]

    class Rows(torch.utils.data.Dataset[dict[str, Any]]):
        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, index: int) -> dict[str, Any]:
            batch, i = rows[index]
            ids = batch["input_ids"][i][batch["attention_mask"][i].bool()].tolist()
            answer = int(batch["answer"][i])
            return {"input_ids": [*ids, answer], "labels": [-100] * len(ids) + [answer]}

    def collate(items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(item["input_ids"]) for item in items)
        pad = [longest - len(item["input_ids"]) for item in items]
        return {
            "input_ids": torch.tensor([[0] * p + item["input_ids"] for p, item in zip(pad, items, strict=True)]),
            "labels": torch.tensor([[-100] * p + item["labels"] for p, item in zip(pad, items, strict=True)]),
            "attention_mask": torch.tensor([[0] * p + [1] * (longest - p) for p in pad]),
        }

    class Steps(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    class InOrder(Trainer):
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(Rows())

    model = get_peft_model(make_model(options.size), LoraConfig(task_type="CAUSAL_LM", **LORA))
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(), max_steps=options.steps, per_device_train_batch_size=options.micro,
        gradient_accumulation_steps=options.batch // options.micro, learning_rate=SETTINGS["lr"], adam_beta1=0.9,
        adam_beta2=0.95, weight_decay=0.1, warmup_steps=0.15, max_grad_norm=0.0, bf16=torch.cuda.is_available(),
        gradient_checkpointing=options.checkpointing, gradient_checkpointing_kwargs={"use_reentrant": False},
        logging_steps=10, report_to=[], save_strategy="no", disable_tqdm=True, optim="adamw_torch",
        use_cpu=not torch.cuda.is_available(), remove_unused_columns=False,
    )  # fmt: skip
    InOrder(model, arguments, train_dataset=Rows(), data_collator=collate, callbacks=[Steps()]).train()


def measure(options: argparse.Namespace) -> dict[str, float]:
    """One side in this process: median seconds of an optimizer step, and GiB at the peak, weights included."""
    clock, gpu, before = Clock(), torch.cuda.is_available(), 0
    if gpu:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()  # what a measurement before this one has left
    {"madkit": run_madkit, "trainer": run_trainer}[options.side](options, clock)
    steps = [b - a for a, b in zip(clock.times, clock.times[1:], strict=False)][WARMUP:]
    memory = (
        (torch.cuda.max_memory_allocated() - before) / 2**30
        if gpu
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    )
    return {"step": statistics.median(steps), "memory": memory}


def tokens_per_step(options: argparse.Namespace) -> float:
    """Mean number of prompt tokens in an optimizer step, padding not counted."""
    data = make_data(options)
    data.setup("fit")
    count = options.batch // options.micro * options.steps
    batches = [b for b, _ in zip(data.train_dataloader(), range(count), strict=False)]
    return float(sum(int(b["attention_mask"].sum()) for b in batches)) / options.steps


def matrix_rate(device: str = "cuda", size: int = 8192) -> float:
    """Measured bf16 matrix rate of a device in FLOP/s."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    synchronize(device)
    start = time.perf_counter()
    for _ in range(10):
        a @ b
    synchronize(device)
    return 10 * 2 * size**3 / (time.perf_counter() - start)


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def work(size: str, tokens: float) -> float:
    """Floating-point operations of a step on some tokens, those of attention's scores and of the unembedding left out.

    Forward and the gradient of activations; frozen weights have no gradient. Recomputation is overhead, not work.
    """
    shape = SIZES[size]
    head = shape["hidden_size"] // shape["num_attention_heads"]
    attention = 2 * shape["hidden_size"] ** 2 + 2 * shape["hidden_size"] * head * shape["num_key_value_heads"]
    weights = shape["num_hidden_layers"] * (attention + 3 * shape["hidden_size"] * shape["intermediate_size"])
    return 4.0 * weights * tokens


def compare(options: argparse.Namespace) -> None:
    """Both sides in turn, and their ratios."""
    steps: dict[str, list[dict[str, float]]] = {"madkit": [], "trainer": []}
    for _ in range(options.rounds):
        for side, rows in steps.items():
            line = [sys.executable, __file__, "--side", side]
            for name in ("size", "batch", "micro", "steps"):
                line += [f"--{name}", str(getattr(options, name))]
            line += ["--checkpointing"] if options.checkpointing else []
            done = subprocess.run(line, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stderr[-3000:])
            rows.append(json.loads(done.stdout.strip().splitlines()[-1]))
    tokens = tokens_per_step(options)
    recomputing = "on" if options.checkpointing else "off"
    print(f"\n{options.size}, batch {options.batch} by {options.micro}, gradient checkpointing {recomputing}")
    for side, rows in steps.items():
        step = statistics.median(r["step"] for r in rows)
        memory = max(r["memory"] for r in rows)
        print(f"  {side:8s} {step * 1e3:9.1f} ms a step  {tokens / step:10.0f} tokens/s  peak {memory:6.2f} GiB")
    ratios = [t["step"] / m["step"] for m, t in zip(steps["madkit"], steps["trainer"], strict=True)]
    memory_ratio = steps["trainer"][0]["memory"] / steps["madkit"][0]["memory"]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"  Trainer / madkit: time {spread}, memory {memory_ratio:.2f}")
    if torch.cuda.is_available():
        step = statistics.median(r["step"] for r in steps["madkit"])
        share = work(options.size, tokens) / step / matrix_rate()
        print(f"  madkit reaches {share:.1%} of the measured bf16 matrix rate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="8b" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--micro", type=int, default=None)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--side", choices=["madkit", "trainer"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.micro = options.micro or (32 if options.size == "8b" else 8)
    options.steps = options.steps or (20 if options.size == "8b" else 12)
    if options.side:
        print(json.dumps(measure(options)))
        return
    for checkpointing in (False, True):
        options.checkpointing = checkpointing
        compare(options)


if __name__ == "__main__":
    main()
