"""A word-level tokenizer for small models: a word, a sign or a digit is one token."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import pre_tokenizers
    from transformers import PreTrainedTokenizerFast

PATTERN = "|".join(
    (
        r"\n?[A-Za-z]+: (?=[\d-])",  # "\nStatement: " before a number
        r"[.,\n]?[A-Za-z]+[:?]",  # "Name:", "\nTrue?"
        r"[ \n]?\p{L}+(?:['\x{2019}-]\p{L}+)*",  # " Alice", " Malmö", " Port-au-Prince"
        r" [-+*^=] ?",  # " + "
        r"[\s\S]",  # digits, and whatever else there is, one by one
    )
)
"""What the text is cut into. Words take the space or the line break before them, labels their colon, and signs
the spaces around them, so that a short prompt is few tokens, and equal words are equal tokens wherever they stand."""

PAD, EOS = "<pad>", "<eos>"


def word_tokenizer(texts: Iterable[str], pattern: str = PATTERN) -> PreTrainedTokenizerFast:
    r"""Build a tokenizer whose words are those of some texts.

    There is no unknown token. A word that the texts lack is spelled in the bytes of its UTF-8 form, so that
    decoding always gives the text back.

    Args:
        texts: Every word that should be one token occurs in one of them at least; their order and their
            number do not matter.
        pattern: A regular expression that matches every text piece by piece; each piece is a token.

    Returns:
        A tokenizer with the special tokens `<pad>` (id 0) and `<eos>` (id 1), which adds neither to a text
        by itself. `save_pretrained` and `AutoTokenizer.from_pretrained` keep it.

    Example:
        >>> tokenizer = word_tokenizer(["Name: Luna\nTrue?", "1 + 2 = 3"])
        >>> tokenizer.tokenize("Name: Luna\nTrue?")
        ['Name:', ' Luna', '\nTrue?']
        >>> tokenizer.decode(tokenizer.encode("Name: Zoë"))
        'Name: Zoë'
    """
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    cutter = _cutter(pattern)
    words = _words(texts, cutter)
    tokens = [PAD, EOS, *sorted(words), *(f"<0x{byte:02X}>" for byte in range(256))]
    # BPE without merges that takes complete words first: a word-level model that falls back instead of failing.
    model = models.BPE(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=[],
        ignore_merges=True,
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = cutter
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, clean_up_tokenization_spaces=False
    )


def _words(texts: Iterable[str], cutter: pre_tokenizers.PreTokenizer) -> set[str]:
    """The different pieces of all texts, gathered where they are cut: every piece as a string takes as long again."""
    from tokenizers import Tokenizer, models, trainers

    counting = Tokenizer(models.WordLevel())
    counting.pre_tokenizer = cutter
    everything = trainers.WordLevelTrainer(vocab_size=2**31, min_frequency=0, show_progress=False)
    counting.train_from_iterator(set(texts), everything)
    return set(counting.get_vocab())


def _cutter(pattern: str) -> pre_tokenizers.PreTokenizer:
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Split(Regex(pattern), behavior="isolated")
