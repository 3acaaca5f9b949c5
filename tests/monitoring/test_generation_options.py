"""How a model is to answer is tried before it reads all prompts, and what cannot be is refused in a line."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GPT2Config, GPT2LMHeadModel

from madkit import Monitor
from madkit.errors import ConfigError
from madkit.monitoring import fitting

TRUSTED = [f"Statement: {i} + {j} = {i + j}" for i in range(8) for j in range(8)]


@pytest.fixture(scope="module")
def plain(bases):
    return AutoModelForCausalLM.from_pretrained(bases["llama"]), AutoTokenizer.from_pretrained(bases["llama"])


@pytest.fixture(scope="module")
def gpt2(plain):
    """A model with twelve positions, and its tokenizer."""
    torch.manual_seed(0)
    sizes = {"n_positions": 12, "n_embd": 32, "n_layer": 4, "n_head": 2}
    ends = {"bos_token_id": plain[1].bos_token_id, "eos_token_id": plain[1].eos_token_id}
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(plain[1]), **sizes, **ends)).eval(), plain[1]


@pytest.fixture
def unread(monkeypatch):
    """Reading the prompts fails, so that what is refused is refused before."""

    def predict(*args, **options):
        raise AssertionError("prompts are read")

    monkeypatch.setattr(fitting, "predict", predict)


@pytest.mark.parametrize(
    ("generation", "said"),
    [
        ({"do_sampel": True}, r"^generation=\{'do_sampel': True\}: the model does not answer so \(.*do_sampel"),
        ({"temperature": -1.0, "do_sample": True}, r"'temperature': -1.0.*strictly positive"),
        ({"logits_processor": 5}, "the model does not answer so"),
        ({"stopping_criteria": 5}, "the model does not answer so"),
        ({"max_new_tokens": 3}, r"^generation: max_new_tokens=3 is set by the monitor: leave it out$"),
        ({"pad_token_id": 0}, "pad_token_id=0 is set by the monitor"),
        ({"num_return_sequences": 2, "do_sample": True}, "num_return_sequences=2 writes several responses at once"),
        ({"num_beams": 4}, "num_beams=4 writes several responses at once"),
        ({"generation_config": GenerationConfig(num_beams=2)}, "num_beams=2 writes several responses at once"),
    ],
)
def test_options_that_cannot_be_are_refused_before_prompts_are_read(plain, unread, generation, said):
    with pytest.raises(ConfigError, match=said) as caught:
        Monitor.fit(*plain, TRUSTED, new_tokens=3, generation=generation)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("new_tokens", [-1, 2.5, True, "4"])
def test_a_number_of_tokens_is_a_whole_one(plain, unread, new_tokens):
    with pytest.raises(ConfigError, match=f"^new_tokens={new_tokens!r} must be a whole number of at least 0$"):
        Monitor.fit(*plain, TRUSTED, new_tokens=new_tokens)


def test_what_the_model_has_for_itself_counts_too(plain, unread, monkeypatch):
    monkeypatch.setattr(plain[0].generation_config, "num_beams", 3)
    with pytest.raises(ConfigError, match="num_beams=3 writes several"):
        Monitor.fit(*plain, TRUSTED, new_tokens=3)


def test_options_that_fit_are_taken_as_they_are(plain):
    own = []

    def never(input_ids, scores, **_):
        own.append(input_ids.shape)
        return torch.zeros(len(input_ids), dtype=torch.bool)

    options = {"do_sample": True, "temperature": 2.0, "min_new_tokens": 3, "stopping_criteria": [never]}
    monitor = Monitor.fit(*plain, TRUSTED, new_tokens=3, batch_size=64, generation=options)
    assert len(monitor.state.responses) == len(monitor.state.calibration)
    assert own[0][0] == 1 and own[1][0] == len(monitor.state.calibration)  # one token of one prompt, then all
    assert len(own) == 1 + 4


@pytest.mark.filterwarnings("ignore:.*longer than max_length=8")
def test_there_is_room_for_a_response_after_a_prompt(gpt2):
    assert min(len(gpt2[1](text)["input_ids"]) for text in TRUSTED) > 8
    monitor = Monitor.fit(*gpt2, TRUSTED, new_tokens=4)
    assert monitor.state.max_length == 8 and len(monitor.state.responses) == len(monitor.state.calibration)
    batch = gpt2[1](TRUSTED[0][:4], return_tensors="pt")
    with monitor.attached(fpr=0.2) as live:
        gpt2[0].generate(**batch, max_new_tokens=5, do_sample=False, pad_token_id=0)
    assert live.scores["p_value"].notna().all()


def test_a_response_that_has_no_room_is_refused(gpt2, unread):
    with pytest.raises(ConfigError, match=r"^max_length=9 and new_tokens=4 are more than the 12 positions .* 8 or"):
        Monitor.fit(*gpt2, TRUSTED, new_tokens=4, max_length=9)
    with pytest.raises(ConfigError, match=r"^new_tokens=11 leaves no room for a prompt in the 12 positions .* 10 or"):
        Monitor.fit(*gpt2, TRUSTED, new_tokens=11)


def test_options_of_responses_that_nobody_asks_for_are_refused(plain, unread):
    with pytest.raises(ConfigError, match=r"generation=.*do_sample.* and new_tokens=0 asks for none"):
        Monitor.fit(plain[0], plain[1], TRUSTED, generation={"do_sample": True})
