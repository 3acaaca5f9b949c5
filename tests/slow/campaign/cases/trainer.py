"""Options of the trainer and of training that Lightning and torch refuse, or that would be taken without a word."""

from campaign.case import Accepted, Case, Either, Refused
from campaign.steps import fit, predict, test

#: Options, and what the message has to name.
_REFUSED = {
    "devices 0": ("--trainer.devices 0", "devices", r"\b0\b"),
    "devices -5": ("--trainer.devices -5", "devices", "-5"),
    "devices many": ("--trainer.devices many", "devices", "many"),
    "devices of a list that is empty": ("--trainer.devices []", "devices", r"\[\]"),
    "devices of a machine with GPUs": ("--trainer.devices [7] --trainer.accelerator gpu", "accelerator|devices", "gpu|7"),
    "accelerator gpu": ("--trainer.accelerator gpu --trainer.devices 8", "accelerator", "gpu"),
    "accelerator cuda": ("--trainer.accelerator cuda", "accelerator", "cuda"),
    "accelerator tpu": ("--trainer.accelerator tpu", "accelerator", "tpu"),
    "accelerator mps": ("--trainer.accelerator mps", "accelerator", "mps"),
    "accelerator quantum": ("--trainer.accelerator quantum", "accelerator", "quantum"),
    "strategy ddpp": ("--trainer.strategy ddpp", "strategy", "ddpp"),
    "strategy deepspeed": ("--trainer.strategy deepspeed", "strategy", "deepspeed"),
    "strategy ddp_notebook": ("--trainer.strategy xla_fsdp", "strategy", "xla_fsdp"),
    "precision transformer-engine": ("--trainer.precision transformer-engine", "precision", "transformer-engine"),
    "precision 17": ("--trainer.precision 17", "precision", "17"),
    "precision fp8": ("--trainer.precision fp8", "precision", "fp8"),
    "precision 16-mixed on a CPU": ("--trainer.precision float16", "precision", "float16"),
    "max_steps -7": ("--trainer.max_steps -7", "max_steps", "-7"),
    "max_steps 1.5": ("--trainer.max_steps 1.5", "max_steps", r"1\.5"),
    "max_epochs -3": ("--trainer.max_steps -1 --trainer.max_epochs -3", "max_epochs", "-3"),
    "min_epochs -3": ("--trainer.min_epochs x", "min_epochs", "x"),
    "max_time of words": ("--trainer.max_time tomorrow", "max_time", "tomorrow"),
    "accumulate_grad_batches 0": ("--trainer.accumulate_grad_batches 0", "accumulate_grad_batches", r"\b0\b"),
    "accumulate_grad_batches -2": ("--trainer.accumulate_grad_batches -2", "accumulate_grad_batches", "-2"),
    "accumulate_grad_batches two": ("--trainer.accumulate_grad_batches two", "accumulate_grad_batches", "two"),
    "limit_train_batches -1": ("--trainer.limit_train_batches -1", "limit_train_batches", "-1"),
    "limit_train_batches 1.5": ("--trainer.limit_train_batches 1.5", "limit_train_batches", r"1\.5"),
    "limit_train_batches 0": ("--trainer.limit_train_batches 0", "limit_train_batches", r"\b0\b"),
    "limit_val_batches -1": ("--trainer.limit_val_batches -1", "limit_val_batches", "-1"),
    "limit_val_batches 3.5": ("--trainer.limit_val_batches 3.5", "limit_val_batches", r"3\.5"),
    "overfit_batches -2": ("--trainer.overfit_batches -2", "overfit_batches", "-2"),
    "val_check_interval -1": ("--trainer.val_check_interval -1", "val_check_interval", "-1"),
    "val_check_interval 0": ("--trainer.val_check_interval 0", "val_check_interval", r"\b0\b"),
    "val_check_interval 1.7": ("--trainer.val_check_interval 1.7", "val_check_interval", r"1\.7"),
    "val_check_interval often": ("--trainer.val_check_interval often", "val_check_interval", "often"),
    "check_val_every_n_epoch 0": (
        "--trainer.val_check_interval 1.0 --trainer.check_val_every_n_epoch 0", "check_val_every_n_epoch", r"\b0\b",
    ),
    "check_val_every_n_epoch often": ("--trainer.check_val_every_n_epoch often", "check_val_every_n_epoch", "often"),
    "gradient_clip_val -1": ("--trainer.gradient_clip_val -1", "gradient_clip_val", "-1"),
    "gradient_clip_val nan": ("--trainer.gradient_clip_val .nan", "gradient_clip_val", "nan"),
    "gradient_clip_algorithm sideways": ("--trainer.gradient_clip_algorithm sideways", "clip_algorithm", "sideways"),
    "num_nodes 0": ("--trainer.num_nodes 0", "num_nodes", r"\b0\b"),
    "num_nodes two": ("--trainer.num_nodes two", "num_nodes", "two"),
    "profiler unknown": ("--trainer.profiler stopwatch", "profiler", "stopwatch"),
    "plugins unknown": ("--trainer.plugins nonsense", "plugins", "nonsense", "!expected path"),
    "deterministic perhaps": ("--trainer.deterministic perhaps", "deterministic", "perhaps"),
    "logger unknown": ("--trainer.logger Wandby", "logger", "Wandby", "!expected path"),
    "a callback that does not exist": ("--trainer.callbacks+=EarlyStoping", "callbacks", "EarlyStoping", "!expected path"),
    "a callback with a wrong option": (
        "--trainer.callbacks+=EarlyStopping --trainer.callbacks.monitr val/loss", "callbacks|EarlyStopping", "monitr",
    ),
    "EarlyStopping of a metric that is never logged": (
        "--trainer.callbacks+=EarlyStopping --trainer.callbacks.monitor val/losss", "monitor", "val/losss",
    ),
    "ModelCheckpoint of a metric that is never logged": (
        "--trainer.callbacks+=ModelCheckpoint --trainer.callbacks.monitor val/acc", "monitor", "val/acc",
    ),
    "ModelCheckpoint with a wrong mode": (
        "--trainer.callbacks+=ModelCheckpoint --trainer.callbacks.monitor val/loss --trainer.callbacks.mode least",
        "mode", "least",
    ),
    "EarlyStopping with patience of words": (
        "--trainer.callbacks+=EarlyStopping --trainer.callbacks.monitor val/loss --trainer.callbacks.patience long",
        "patience", "long",
    ),
    "a trainer option that does not exist": ("--trainer.epochs 3", r"trainer|epochs", "epochs"),
    "seed -1": ("--seed_everything -1", "seed_everything", "-1"),
    "seed of 20 digits": ("--seed_everything 99999999999999999999", "seed_everything", "99999999999999999999"),
    "seed 2^32": ("--seed_everything 4294967296", "seed_everything", "4294967296"),
    "seed 1.5": ("--seed_everything 1.5", "seed_everything", r"1\.5", "!expected bool$"),
    "seed of a word": ("--seed_everything x", "seed_everything", r"\bx\b", "!expected bool$"),
    "data seed -1": ("--data.seed -1", r"data\.(init_args\.)?seed", "-1"),
    "data seed of a word": ("--data.seed today", "data.seed", "today"),
    "lr -1": ("--model.optimizer.lr -1", r"\blr\b|learning rate", "-1"),
    "lr nan": ("--model.optimizer.lr .nan", r"\blr\b|learning rate", "nan"),
    "lr inf": ("--model.optimizer.lr .inf", r"\blr\b", "inf"),
    "lr fast": ("--model.optimizer.lr fast", r"optimizer.lr", "fast"),
    "weight decay -3": ("--model.optimizer.weight_decay -3", "weight_decay", "-3"),
    "betas beyond 1": ("--model.optimizer.betas [0.9,1.5]", "betas?", r"1\.5"),
    "betas of one number": ("--model.optimizer.betas [0.9]", "betas", r"0\.9"),
    "eps -1": ("--model.optimizer.eps -1", r"eps|epsilon", "-1"),
    "an optimizer that does not exist": ("--model.optimizer torch.optim.Adamm", "optimizer", "Adamm", "!expected path"),
    "an option that the optimizer lacks": ("--model.optimizer.momentum 0.9", "momentum", "AdamW|optimizer"),
    "warmup 2": ("--model.warmup 2", "warmup", r"\b2"),
    "warmup -0.1": ("--model.warmup -0.1", "warmup", r"-0\.1"),
    "decay 1.5": ("--model.decay 1.5", "decay", r"1\.5"),
    "warmup and decay that overlap": ("--model.warmup 0.8 --model.decay 0.8", "warmup|decay", r"0\.8"),
    "ckpt_path that is missing": ("--ckpt_path nope.ckpt", "ckpt_path", "nope.ckpt"),
    "ckpt_path of a folder": ("--ckpt_path .", "ckpt_path", r"'?\.'?"),
    "ckpt_path best before any fit": ("--ckpt_path best", "ckpt_path", "best"),
    "dtype int4": ("--model.dtype int4", "dtype", "int4"),
    "dtype double": ("--model.dtype int8", "dtype", "int8"),
    "attention flashy": ("--model.attention flashy", "attention", "flashy", "!train or download"),
    "attention flash_attention_2 without its package": ("--model.attention flash_attention_2", "attention", "flash_attention_2"),
    "attention flash_attention_3 without its package": ("--model.attention flash_attention_3", "attention", "flash_attention_3"),
    "batch_size 0": ("--data.batch_size 0", "batch_size", r"\b0\b"),
    "batch_size 2.5": ("--data.batch_size 2.5", "batch_size", r"2\.5"),
    "device_batch_size -1": ("--data.device_batch_size -1", "device_batch_size", "-1"),
    "max_length 0": ("--data.max_length 0", "max_length", r"\b0\b"),
    "passes 0": ("--data.passes 0", "passes", r"\b0\b"),
    "max_validation -1": ("--data.max_validation -1", "max_validation", "-1"),
    "fused and clipping in mixed precision": (None, "fused|gradient_clip_val", "precision|fused"),
}  # fmt: skip

#: Options that change nothing in what has to come out.
_RIGHT = {
    "accumulating one batch": "--trainer.accumulate_grad_batches 1",
    "fast_dev_run": "--trainer.fast_dev_run true",
    "no checkpoints": "--trainer.enable_progress_bar false",
    "logger false": "--trainer.logger false",
    "CSV logger": "--trainer.logger CSVLogger --trainer.logger.save_dir runs/csv",
    "no validation": "--trainer.limit_val_batches 1",
    "anomaly detection": "--trainer.detect_anomaly true",
    "max_time": "--trainer.max_time 00:01:00:00",
    "bf16-mixed": "--trainer.precision bf16-mixed",
    "gradient checkpointing": "--model.gradient_checkpointing true",
    "seed true": "--seed_everything true",
    "log_every_n_steps beyond the end": "--trainer.log_every_n_steps 1000",
    "no sanity check": "--trainer.num_sanity_val_steps 0",
    "one validation prompt for each process": "--data.max_validation 2",
}


def _adapter(place):
    fast = place.root / "runs" / "addition" / "fit.json"
    if not fast.exists():
        return "lost", "exit 0 without fit.json"
    return None


CASES = [
    *(
        Case(name, (fit(Refused(*says), *words.split()),))
        for name, (words, *says) in _REFUSED.items()
        if words is not None
    ),
    *(
        Case(name, (fit(Accepted(None if "fast_dev" in words else _adapter), *words.split()),))
        for name, words in _RIGHT.items()
    ),
    Case(
        "fused and clipping in mixed precision",
        (fit(Either(Accepted(_adapter), Refused("fused|gradient_clip_val", "precision")), "--trainer.precision", "16-mixed"),),
    ),
    Case(
        "predict on a GPU that is not there",
        (predict(Refused("accelerator", "gpu"), "--trainer.accelerator", "gpu"),),
        start="fitted",
    ),
    Case("predict with devices 0", (predict(Refused("devices", "0"), "--trainer.devices", "0"),), start="fitted"),
    Case("test with an unknown strategy", (test(Refused("strategy", "dp9"), "--trainer.strategy", "dp9"),), start="predicted"),
    Case("test with limit_test_batches", (test(Refused("limit_test_batches", "2"), "--trainer.limit_test_batches", "2"),), start="predicted"),
    Case("predict with limit_predict_batches", (predict(Refused("limit_predict_batches", "0.5"), "--trainer.limit_predict_batches", "0.5"),), start="fitted"),
    Case("test with fast_dev_run", (test(Either(Refused("fast_dev_run"), Accepted()), "--trainer.fast_dev_run", "true"),), start="predicted"),
]  # fmt: skip
