"""`python benchmarks/gpu`: measure on one GPU, write down, go on where it stopped; `--help` has the options."""

import os
import sys
from pathlib import Path

# One card, and nothing from the hub.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", MADKIT_PROGRESS="lines", MPLBACKEND="agg")
FOLDER = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(FOLDER.parent), str(FOLDER)]

from gpu.command import main  # noqa: E402

sys.exit(main())
