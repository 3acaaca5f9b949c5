"""Watch a chat model: which of these conversations is unlike the trusted ones?

    python examples/watch_chat.py HuggingFaceTB/SmolLM2-135M-Instruct trusted.jsonl new.jsonl

Each line of the files is {"messages": [{"role": "user", "content": "..."}]}. Conversations go through the tokenizer's
chat template, up to where the reply would begin. As the new ones come in, a wager against "they are like the trusted
ones" grows or shrinks: it ever reaches 100 in at most one of a hundred streams that are.
"""

import sys
from pathlib import Path

import pandas as pd

import madkit


def main(model: str, trusted: str | Path, new: str | Path, fpr: float = 0.01) -> pd.DataFrame:
    """Print what alarms, and whether the stream has changed; return the scores.

    Args:
        model: hub name or folder of a model whose tokenizer has a chat template.
        trusted: conversations that the model is trusted on.
        new: conversations to look at, in the order in which they came.
        fpr: the share of conversations like the trusted ones that may alarm.
    """
    monitor = madkit.Monitor.fit(model, None, trusted)
    print(monitor.description)
    table = monitor.score(new, fpr=fpr)
    for row in table[table["alarm"]].itertuples():
        print(f"conversation {row.Index}: p = {row.p_value:.3g} ({row.sites})")
    wager = monitor.wager().update(table["score"])
    print(f"evidence against an unchanged stream: {wager.highest:.3g} (100 is an alarm at 1%)")
    return table


if __name__ == "__main__":
    main(*sys.argv[1:])
