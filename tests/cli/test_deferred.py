"""What the command defers is not run by what does not use it, and works as ever once it is used."""

import json
import subprocess
import sys

import pytest
from pins import PINNED

from madkit.cli.deferred import DEFERRALS

BEFORE = """
import sys, types
from madkit.cli.deferred import defer
from madkit.cli.deferred_module import DeferredModule
defer()
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.compile import OptimizedModule, from_compiled
from torchmetrics import MeanMetric, Metric

def waits(*names):
    return [isinstance(sys.modules.get(name), DeferredModule) for name in names]

@torch.compiler.disable
def is_compiled():
    return torch.compiler.is_compiling()

@torch.compiler.assume_constant_result
def constant():
    return 3

model = torch.nn.Linear(2, 1)
optimizer = torch.optim.AdamW(model.parameters())
for _ in range(2):
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
mean = MeanMetric()
mean.update(3.0)
assert not is_compiled() and not isinstance(model, OptimizedModule) and mean.compute() == 3
assert waits("torch._dynamo", "torchmetrics", "torchmetrics.utilities.plot") == [True] * 3
assert not {"transformers", "scipy", "matplotlib", "sympy"} & sys.modules.keys()
"""
COMPILER = """
def shift(x):
    return x + is_compiled(), x + constant()

compiled = torch.compile(model, backend="eager")
assert isinstance(compiled, OptimizedModule) and type(compiled) is torch._dynamo.OptimizedModule
assert torch.equal(compiled(torch.ones(1, 2)), model(torch.ones(1, 2)))
assert [int(x) for x in torch.compile(shift, backend="eager")(torch.zeros(()))] == [0, 3]
assert constant._dynamo_marked_constant and type(torch._dynamo) is types.ModuleType
optimizer.step()

class Lit(LightningModule):
    def forward(self, x):
        return x

assert type(from_compiled(torch.compile(Lit(), backend="eager"))) is Lit
import torch._dynamo.config
assert torch._dynamo.config is sys.modules["torch._dynamo.config"]
"""
SUBMODULE = """
import torch._dynamo.config as config
assert config is sys.modules["torch._dynamo.config"] and config.__spec__.loader.name == config.__name__
assert waits("torch._dynamo") == [False] and torch._dynamo.config is config
"""
METRICS = """
from matplotlib import pyplot
import matplotlib
assert waits("matplotlib", "matplotlib.pyplot") == [True, True]
matplotlib.use("agg")
figure, axes = mean.plot()
assert type(figure).__name__ == "Figure" and waits("torchmetrics", "torchmetrics.utilities.plot") == [True, False]
import torchmetrics
assert torchmetrics.Metric is Metric and torchmetrics.MeanMetric is MeanMetric and waits("torchmetrics") == [True]
accuracy = torchmetrics.Accuracy(task="binary")
assert accuracy(torch.tensor([0.9, 0.2]), torch.tensor([1, 1])) == 0.5 and isinstance(accuracy, Metric)
assert waits("torchmetrics") == [False] and torchmetrics.Metric is Metric
"""
OTHERS = """
from transformers.models.llama import LlamaConfig
from scipy.optimize import linear_sum_assignment
assert waits("transformers.models", "scipy.optimize") == [True, True]
assert linear_sum_assignment([[2, 1], [1, 2]])[1].tolist() == [1, 0] and waits("scipy.optimize") == [False]
import transformers
assert transformers.models.llama.LlamaConfig is LlamaConfig is transformers.LlamaConfig
assert transformers.models.mistral.MistralConfig is transformers.MistralConfig
"""


THEN = {"compiler": COMPILER, "config": SUBMODULE, "metrics": METRICS, "more": OTHERS}
#: Each goes on in a copy of the process that has done what they all begin with.
EACH = """
import json, os, traceback

failures = {}
for name, then in json.loads(sys.argv[1]).items():
    if not (copy := os.fork()):
        try:
            exec(then, globals())
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    failures[name] = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
print(json.dumps(failures))
"""


@pytest.fixture(scope="module")
def done():
    line = [sys.executable, "-c", BEFORE + EACH, json.dumps(THEN)]
    return subprocess.run(line, capture_output=True, text=True)


@pytest.mark.skipif(
    not all(deferral.fits() for deferral in DEFERRALS.values()), reason="with these versions, not all is deferred"
)
@pytest.mark.parametrize("then", THEN)
def test_deferred_modules_work_when_they_are_used(done, then):
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])[then] == 0, done.stderr


def test_the_pinned_versions_are_known(monkeypatch):
    """With another one everything works, and takes longer to start: try it, and name it in `deferred.py`."""
    monkeypatch.setattr("madkit.cli.deferred_module.version", PINNED.__getitem__)
    assert all(deferral.fits() for deferral in DEFERRALS.values())
