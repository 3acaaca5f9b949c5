"""An adapter is read in the words that it was trained on, or a line says that it is not, or that nobody knows."""

import json

import pytest
import torch
from safetensors.torch import save_file

from madkit.data.quirky.quirky_data import QuirkyData
from madkit.errors import ConfigError
from madkit.extraction.template_match import warn_of_wording
from madkit.lm.adapters import record_template

SMALL = {"n_train": 200, "n_validation": 100, "n_test": 0}


def data(template, dataset="addition"):
    return QuirkyData(dataset, template, task_options=SMALL)


@pytest.fixture
def adapter(tmp_path):
    """The folder of an adapter that was trained on the mixture of addition."""
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    save_file({"x": torch.ones(2)}, tmp_path / "adapter_model.safetensors")
    record_template(tmp_path, "mixture", data("mixture").wordings())
    return tmp_path


@pytest.mark.filterwarnings("error")
def test_all_its_words_or_some_of_them_are_right(adapter):
    warn_of_wording(str(adapter), data("mixture"))
    warn_of_wording(str(adapter), data("first"))


@pytest.mark.parametrize(
    ("template", "dataset", "way_out"),
    [("compact", "addition", "--data.template mixture"), ("mixture", "squaring", "the dataset is another one")],
)
def test_other_words_are_named_in_one_line(adapter, template, dataset, way_out):
    with pytest.warns(UserWarning, match=way_out) as caught:
        warn_of_wording(str(adapter), data(template, dataset))
    (warning,) = caught
    assert "\n" not in str(warning.message) and "template='mixture'" in str(warning.message)


def test_a_record_of_other_weights_is_none(adapter):
    save_file({"x": torch.zeros(2)}, adapter / "adapter_model.safetensors")
    with pytest.warns(UserWarning, match="does not say in which words"):
        warn_of_wording(str(adapter), data("mixture"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ('{"format": 1}', "is damaged"),
        ('{"format": 7, "name": "", "wordings": []}', "has format 7"),
    ],
)
def test_a_damaged_record_or_one_of_another_version_is_refused(adapter, content, message):
    (adapter / "template.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        warn_of_wording(str(adapter), data("mixture"))
