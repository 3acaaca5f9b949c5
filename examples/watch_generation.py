"""Watch a model while it writes.

    python examples/watch_generation.py bases/tiny-llama

A monitor is fitted on trusted prompts; the model then answers new ones, and each prompt's last token and every token of
the answer gets a score. What is unlike the trusted prompts, or the answers to them, is printed, and generation stops
there.
"""

import sys

import pandas as pd
from transformers import AutoModelForCausalLM, AutoTokenizer, StoppingCriteriaList

import madkit

TRUSTED = [f"{i} + {j} = " for i in range(10, 40) for j in range(10, 22)]
NEW = ["13 + 25 = ", "38 + 12 = ", "12 12 12 12 12 12"]


def main(name: str = "bases/tiny-llama") -> pd.DataFrame:
    """Print the alarms and return all scores.

    Args:
        name: a model.
    """
    model = AutoModelForCausalLM.from_pretrained(name)
    tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
    monitor = madkit.Monitor.fit(model, tokenizer, TRUSTED, new_tokens=3)
    batch = tokenizer(NEW, return_tensors="pt", padding=True, return_token_type_ids=False)
    with monitor.attached(model, fpr=0.01) as live:
        model.generate(**batch, max_new_tokens=4, do_sample=False, stopping_criteria=StoppingCriteriaList([live.stop]))
    for row in live.alarms.itertuples():
        where = "the prompt" if row.step == 0 else f"token {row.step} of the answer, {tokenizer.decode([row.token])!r}"
        print(f"{NEW[row.sequence]!r}: {where}, p = {row.p_value:.3g}")
    return live.scores


if __name__ == "__main__":
    main(*sys.argv[1:])
