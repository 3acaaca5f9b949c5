"""Reading a forward pass gives what transformers itself reports, and stops where it should."""

import pytest
import torch

from madkit.lm import forward, loading
from madkit.lm.hooks import Hookpoint, Reader, hooked
from madkit.lm.text_decoder import layer_names


def padded_batch(vocab=300):
    torch.manual_seed(0)
    ids = torch.randint(3, vocab, (4, 9))
    mask = torch.ones_like(ids)
    for row, pad in enumerate([0, 2, 5, 8]):
        mask[row, :pad] = 0
    return ids, mask


@pytest.mark.parametrize("architecture", ["llama", "mistral", "gpt_neox"])
def test_readings_equal_hidden_states_of_each_prompt_alone(bases, architecture):
    lm = loading.load_causal_lm(str(bases[architecture]))
    names = layer_names(lm)
    ids, mask = padded_batch()
    inputs = [Hookpoint(name, "input") for name in names]
    outputs = [Hookpoint(names[0], "output")]
    with torch.no_grad(), Reader(lm, inputs + outputs, stop=False) as reader:
        forward.hidden_states(lm, ids, mask, padded=True)
    for row in range(len(ids)):
        alone = ids[row, mask[row].bool()][None]
        with torch.no_grad():
            expected = lm(alone, output_hidden_states=True).hidden_states
        for i, point in enumerate(inputs):
            torch.testing.assert_close(reader.values[point][row], expected[i][0, -1], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(reader.values[outputs[0]][row], expected[1][0, -1], rtol=1e-4, atol=1e-5)


def test_the_pass_stops_after_the_last_reading(bases):
    lm = loading.load_causal_lm(str(bases["llama"]))
    names = layer_names(lm)
    ran = []
    for i, name in enumerate(names):
        lm.get_submodule(name).register_forward_hook(lambda *_, i=i: ran.append(i))
    ids, mask = padded_batch()
    with torch.no_grad(), Reader(lm, [Hookpoint(names[2], "input")], stop=True) as reader:
        forward.hidden_states(lm, ids, mask, padded=True)
        pytest.fail("the forward pass ran to its end")
    assert ran == [0, 1]
    assert len(reader.values) == 1
    ran.clear()
    forward.hidden_states(lm, ids, mask, padded=True)
    assert ran == list(range(len(names)))


def test_other_exceptions_pass_through_and_leave_no_hooks(bases):
    lm = loading.load_causal_lm(str(bases["llama"]))
    with pytest.raises(ZeroDivisionError), Reader(lm, [Hookpoint(layer_names(lm)[1], "input")], stop=True):
        _ = 1 / 0
    ids, mask = padded_batch()
    assert len(forward.hidden_states(lm, ids, mask, padded=True)) == len(ids)


def test_hooks_are_removed_whether_or_not_an_error_leaves_the_context():
    layer, seen = torch.nn.Identity(), []
    with hooked(layer.register_forward_hook(lambda *_, i=i: seen.append(i)) for i in range(2)):
        layer(torch.zeros(1))
    assert seen == [0, 1]
    with pytest.raises(RuntimeError, match="inside"), hooked([layer.register_forward_hook(lambda *_: seen.append(2))]):
        raise RuntimeError("inside")
    layer(torch.zeros(1))
    assert seen == [0, 1]


def test_hooks_are_removed_where_a_later_one_cannot_be_registered():
    layer, seen = torch.nn.Identity(), []

    def handles():
        yield layer.register_forward_hook(lambda *_: seen.append(0))
        raise AttributeError("no such module")

    with pytest.raises(AttributeError), hooked(handles()):
        pass
    layer(torch.zeros(1))
    assert not seen
