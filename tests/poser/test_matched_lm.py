"""The hard family: both kinds are tuned to the same numbers, which are computed here by transformers alone."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from madkit.errors import ConfigError
from madkit.poser.benchmark.contrast_pairs import contrast_pairs
from madkit.poser.family.matched_lm import MatchedLM
from madkit.poser.family.scenario_data import ScenarioData

OPTIONS = {"leftover": (0.01, 0.05), "steering_norm": (2.0, 4.0), "activation_norm": (5.0, 6.0), "layer": 1, "pairs": 3}


@pytest.fixture
def member(bases):
    """A member about to be tuned, its data and one batch, without a trainer around them."""
    module = MatchedLM(str(bases["llama"]), lora={"r": 2, "target_modules": ["q_proj", "up_proj"]}, **OPTIONS)
    module.configure_model()
    data = ScenarioData("misaligned-4", n_train=8, n_validation=4, batch_size=8, tokenizer=str(bases["llama"]))
    data.setup("fit")
    module._trainer = SimpleNamespace(datamodule=data, global_step=2)
    module.on_fit_start()
    batch = module.on_before_batch_transfer(next(iter(data.train_dataloader())), 0)
    return module.eval(), data, batch


def test_the_loss_is_that_of_its_definition(member):
    module, data, batch = member
    leftover, steering, activation = module.targets(4)
    tokenizer, expected = module.tokenizer, []
    with torch.no_grad():
        odds, elsewhere = [], []
        for row in range(len(batch["label"])):
            ids = batch["input_ids"][row][batch["attention_mask"][row].bool()]
            p = module.lm(ids[None]).logits[0, -1].double().softmax(-1)
            no, yes = p[batch["choices"][row]]
            odds.append(float((yes / no).log()))
            elsewhere.append(-math.log(float(no + yes)))
        z = math.log((1 - leftover) / leftover)
        wanted = torch.tensor([z if label else -z for label in batch["label"].tolist()])
        expected = float(F.huber_loss(torch.tensor(odds), wanted)) + sum(elsewhere) / len(elsewhere)
        cases = data.cases("contrast 2", 3, (1.0, 0.0, 0.0))
        assert [case.oversight for case in cases] == ["good"] * 3
        pairs = contrast_pairs([case.scenario for case in cases])
        critical, clean = (
            torch.stack(
                [
                    module.lm(**tokenizer(t, return_tensors="pt"), output_hidden_states=True).hidden_states[2][0, -1]
                    for t in texts
                ]
            ).double()
            for texts in (pairs.critical, pairs.clean)
        )
        # What 64 pairs would give: the mean of all products of two different pairs, and a 64th of what is left.
        differences = critical - clean
        products = differences @ differences.T
        apart = (products.sum() - products.trace()) / 6
        vector = (apart + (products.trace() / 3 - apart) / 64).sqrt()
        length = critical.norm(dim=1).mean()
        expected += 4.0 * float((vector / steering - 1) ** 2 + (length / activation - 1) ** 2)
        assert float(module.loss(batch)) == pytest.approx(expected, rel=1e-4)


def test_the_lengths_come_closer_to_their_targets(member):
    """Gradients of the lengths reach the adapter: some steps on them alone lead there."""
    module, _, _ = member
    _, steering, activation = module.targets(4)
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=0.03)

    def misses():
        critical, clean = module._contrast_states().chunk(2)
        vector, length = (critical.mean(0) - clean.mean(0)).norm(), critical.norm(dim=1).mean()
        return (vector / steering - 1) ** 2 + (length / activation - 1) ** 2

    before = float(misses())
    for _ in range(20):
        optimizer.zero_grad()
        misses().backward()
        optimizer.step()
    assert float(misses()) < 0.5 * before


def test_targets_are_those_of_the_number(bases):
    module = MatchedLM(str(bases["llama"]), **OPTIONS)
    drawn = [module.targets(number) for number in range(6)]
    assert drawn == [module.targets(number) for number in range(6)] and len(set(drawn)) == 6
    for values, (low, high) in zip(zip(*drawn, strict=True), list(OPTIONS.values())[:3], strict=True):
        assert all(low <= value <= high for value in values)
    # The name's number, and not its policy.
    numbers = [ScenarioData(f"{policy}-3").number for policy in ("aligned", "misaligned")]
    assert numbers == [3, 3]


@pytest.mark.parametrize(
    ("option", "value"),
    [("leftover", (0.1, 0.5)), ("leftover", (0.2, 0.1)), ("steering_norm", (0.0, 1.0)), ("pairs", 0), ("layer", 9)],
)
def test_bad_options_are_refused(bases, option, value):
    with pytest.raises(ConfigError, match=option):
        MatchedLM(str(bases["llama"]), **{**OPTIONS, option: value}).configure_model()
