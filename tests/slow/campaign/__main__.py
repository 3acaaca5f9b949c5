"""`python tests/slow/campaign`: try every bad input and fault; `--help` has the options."""

import os
import sys
from pathlib import Path

os.environ.update(
    HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1", MADKIT_PROGRESS="lines", MPLBACKEND="agg"
)
ROOT = Path(__file__).resolve().parents[3]
sys.path[:1] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "slow")]

from campaign.trial import main  # noqa: E402

sys.exit(main())
