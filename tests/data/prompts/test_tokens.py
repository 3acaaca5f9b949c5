"""Answer tokens in the context of the prompt, for each kind of tokenizer that real models come with."""

import time

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from madkit.data.prompts.tokens import tokenize_prompts
from madkit.errors import ConfigError

PROMPTS = [
    "Luna: 12+34=46. True?",
    "Name: Bob\n\nStatement: 5 - 1000 = -895\n\nIs the statement true?",
    "Zoë says: 1 + 1 = 2. Zac:",
]
CHOICES = [(" No", " Yes"), (" No", " Yes"), (" False", " True")]
TEXTS = [prompt + choice for prompt, pair in zip(PROMPTS, CHOICES, strict=True) for choice in pair] * 3
BOS, EOS = "<s>", "</s>"


def wrap(tokenizer, template=None):
    if template:
        specials = [(t, tokenizer.token_to_id(t)) for t in (BOS, EOS)]
        tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=specials)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, unk_token="<unk>")


def train(tokenizer, trainer, **options):
    tokenizer.train_from_iterator(TEXTS, trainer(special_tokens=["<unk>", BOS, EOS], show_progress=False, **options))
    return tokenizer


def byte_level(template=f"{BOS} $A", split=None):
    tokenizer = Tokenizer(models.BPE())
    step = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)
    if split is not None:
        step = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"), step])
    tokenizer.pre_tokenizer = step
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, trainers.BpeTrainer, vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    return wrap(tokenizer, template)


def llama3():
    words, signs = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*"
    return byte_level(split=rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|{words}|{signs}|\s*[\r\n]+|\s+(?!\S)|\s+")


def metaspace():
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first")
    return wrap(train(tokenizer, trainers.BpeTrainer, vocab_size=400), f"{BOS} $A")


def sentencepiece():
    """Llama 2 and Mistral: spaces are replaced by a normalizer and merges may cross words."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(?=▁)"), "isolated")
    train(tokenizer, trainers.BpeTrainer, vocab_size=400)
    tokenizer.pre_tokenizer = None
    return wrap(tokenizer, f"{BOS} $A {EOS}")


def word_level():
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\p{L}+|\d|."), "isolated")
    return wrap(train(tokenizer, trainers.WordLevelTrainer))


KINDS = {
    "byte_level": byte_level,
    "byte_level_eos": lambda: byte_level(f"{BOS} $A {EOS}"),
    "byte_level_bare": lambda: byte_level(None),
    "llama3": llama3,
    "metaspace": metaspace,
    "sentencepiece": sentencepiece,
    "word_level": word_level,
}


@pytest.fixture(scope="module", params=sorted(KINDS))
def tokenizer(request):
    return KINDS[request.param]()


def without_eos(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    return ids[:-1] if ids[-1] == tokenizer.eos_token_id else ids


def test_prompt_and_answer_are_the_whole_text(tokenizer):
    """The input, then an answer token, must begin the tokens of the text that ends in that answer."""
    out = tokenize_prompts(tokenizer, PROMPTS, CHOICES)
    for i, (prompt, pair) in enumerate(zip(PROMPTS, CHOICES, strict=True)):
        ids = out.ids[out.starts[i] : out.starts[i + 1]].tolist()
        for side in (0, 1):
            whole = without_eos(tokenizer, prompt + pair[side])
            assert whole[: len(ids) + 1] == [*ids, out.choices[i, side]]
        assert out.choices[i, 0] != out.choices[i, 1]
        assert without_eos(tokenizer, prompt) == ids  # nothing merges over the end of these prompts


def test_answer_tokens_are_the_words(tokenizer):
    out = tokenize_prompts(tokenizer, PROMPTS[:1], CHOICES[:1])
    words = [tokenizer.convert_ids_to_tokens(int(i)).lstrip("Ġ▁ ") for i in out.choices[0]]
    assert all(full.startswith(word) and word for full, word in zip(("No", "Yes"), words, strict=True))


def test_left_truncation_keeps_bos_and_the_answers(tokenizer):
    whole = tokenize_prompts(tokenizer, PROMPTS, CHOICES)
    cut = tokenize_prompts(tokenizer, PROMPTS, CHOICES, max_length=3)
    assert (cut.choices == whole.choices).all()
    for i, prompt in enumerate(PROMPTS):
        before = whole.ids[whole.starts[i] : whole.starts[i + 1]].tolist()
        after = cut.ids[cut.starts[i] : cut.starts[i + 1]].tolist()
        assert len(after) == 3
        first = int(before[0] == tokenizer.bos_token_id)
        assert after == before[:first] + before[first - 3 :]
        assert first == (tokenizer(prompt)["input_ids"][0] == tokenizer.bos_token_id)


def test_padding_is_on_the_left(tokenizer):
    out = tokenize_prompts(tokenizer, PROMPTS, CHOICES)
    ids, mask = out.padded(np.array([1, 0]))
    assert ids.shape == mask.shape == (2, out.lengths[:2].max())
    assert mask.sum(axis=1).tolist() == out.lengths[[1, 0]].tolist()
    assert (np.diff(mask, axis=1) >= 0).all()
    assert ids[1][mask[1] == 1].tolist() == out.ids[: out.starts[1]].tolist()


@pytest.mark.parametrize("kind", ["byte_level", "llama3", "metaspace", "word_level"])
@pytest.mark.parametrize("pair", [(" Yes", " Yes!"), (" No", " No,"), (" Yes so", " Yes no")])
def test_answers_that_share_their_first_token_are_refused(kind, pair):
    with pytest.raises(ConfigError, match=r"begin with the same token after '.*True") as error:
        tokenize_prompts(KINDS[kind](), PROMPTS[:1], [pair])
    assert "\n" not in str(error.value)


def test_a_shared_space_is_a_shared_token():
    """Without merges the space is a token of its own, and the answers begin with it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(
        [], trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    )
    for trim in (True, False):
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim)
        bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
        with pytest.raises(ConfigError, match="begin with the same token"):
            tokenize_prompts(bare, ["Luna: 1?"], [(" No", " Yes")])
        out = tokenize_prompts(bare, ["Luna: 1? "], [("No", "Yes")])
        assert bare.convert_ids_to_tokens(out.choices[0].tolist()) == ["N", "Y"]


def test_a_space_that_merges_into_the_answer_leaves_the_input():
    tokenizer = byte_level()
    ended = tokenize_prompts(tokenizer, ["Luna: 12+34=46. True? "], [("No", "Yes")])
    plain = tokenize_prompts(tokenizer, PROMPTS[:1], CHOICES[:1])
    assert ended.ids.tolist() == plain.ids.tolist()
    assert ended.choices.tolist() == plain.choices.tolist()


class WithoutOffsets:
    """A tokenizer in plain Python, which cannot say where a token is in the text."""

    def __init__(self, inner):
        self.inner, self.is_fast = inner, False
        self.pad_token_id, self.eos_token_id, self.unk_token_id = None, inner.eos_token_id, inner.unk_token_id
        self.decode = inner.decode

    def __call__(self, texts, **options):
        return dict(self.inner(texts, **options))


def test_tokenizers_without_offsets():
    slow = WithoutOffsets(byte_level(f"{BOS} $A {EOS}"))
    out, fast = (tokenize_prompts(t, PROMPTS, CHOICES) for t in (slow, slow.inner))
    assert (out.choices == fast.choices).all()
    assert (out.ids == fast.ids).all()
    with pytest.raises(ConfigError, match="begin with the same token"):
        tokenize_prompts(slow, PROMPTS[:1], [(" True?", " True.")])


@pytest.mark.parametrize(("prompt", "length", "message"), [("", 10, "no token before"), ("a", 1, "max_length=1")])
def test_prompts_without_room(prompt, length, message):
    with pytest.raises(ConfigError, match=message):
        tokenize_prompts(byte_level(), [prompt], [(" No", " Yes")], max_length=length)


def test_many_prompts_are_quick():
    tokenizer = word_level()
    start = time.perf_counter()
    out = tokenize_prompts(tokenizer, PROMPTS[:1] * 20_000, CHOICES[:1] * 20_000)
    assert time.perf_counter() - start < 10
    assert len(out) == 20_000


@pytest.mark.parametrize("pair", [(" Nope", " Yes"), (" No", " Aye"), (" Nope", " Aye")])
def test_answers_that_the_tokenizer_does_not_know_are_refused(pair):
    with pytest.raises(ConfigError, match=r"' (Nope|Aye)' becomes '<unk>'.*use answers of words that it knows"):
        tokenize_prompts(word_level(), PROMPTS[:1], [pair])


def test_words_that_the_tokenizer_does_not_know_are_told():
    with pytest.warns(UserWarning, match="1 of 2 prompts hold words that the tokenizer does not know"):
        tokenize_prompts(word_level(), [PROMPTS[0], "Xenia: 12. True?"], CHOICES[:2])


@pytest.mark.parametrize("fast", [True, False])
def test_a_cut_prompt_keeps_who_speaks_or_is_refused(fast):
    tokenizer = byte_level()
    tokenizer = tokenizer if fast else WithoutOffsets(tokenizer)
    texts, speakers = ["Luna: 12+34=46. True?", "Is 12+34=46 true? Zoe:"], ["Luna", "Zoe"]
    whole = tokenize_prompts(tokenizer, texts, CHOICES[:2], speakers=speakers)
    n = whole.lengths.tolist()
    assert tokenize_prompts(tokenizer, texts, CHOICES[:2], max(n), speakers).ids.tolist() == whole.ids.tolist()
    assert tokenize_prompts(tokenizer, texts[1:], CHOICES[:1], n[1] - 1, speakers[1:]).lengths.tolist() == [n[1] - 1]
    message = rf"max_length={n[0] - 3} cuts 'Luna', which decides the answer, off 1 of 2 .*: raise it to {n[0]}"
    with pytest.raises(ConfigError, match=message):
        tokenize_prompts(tokenizer, texts, CHOICES[:2], n[0] - 3, speakers)
