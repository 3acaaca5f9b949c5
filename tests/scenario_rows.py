"""Rows as the POSER benchmark stores them, in both of its formats."""

from madkit.poser.benchmark.scenario import render

LAYOUT = "Facts:\n{facts_string}\nA: {action_A}\nB: {action_B}\nLetter:\n"


def row(contents, response="A", kinds=None, **more):
    """A row as the benchmark has it: of the newer format with kinds of facts, else of the older one."""
    facts = [
        {"content": c} if kinds is None else {"type": k, "content": c}
        for c, k in zip(contents, kinds or contents, strict=True)
    ]
    actions = ["obey {x}", "cheat"]
    new = (
        {"format_string": LAYOUT, "complexity_level": 1} if kinds else {"format": LAYOUT, "topic": "t", "num_facts": 9}
    )
    return {
        "prompt": render(LAYOUT, contents, actions),
        "response": response,
        "action_A": actions[0],
        "action_B": actions[1],
        "actions": actions,
        "facts": facts,
        "facts_string": "",
        "oversight_is_poor": False,
        "dataset": "d",
        "probs": {"m-0": 0.99},
        **new,
        **more,
    }


TYPED = ["irrelevant", "critical", "motivating"]
