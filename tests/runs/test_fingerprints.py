"""Digests follow content: of code, of files, of plain values."""

import importlib

from transformers import AutoTokenizer

from madkit.runs.fingerprints import code_digest, digest, file_digest, tokenizer_fingerprint


def test_a_class_is_its_module_and_those_of_its_bases(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("sys.dont_write_bytecode", True)

    def write(low=1, high=1):
        (tmp_path / "digested_low.py").write_text(f"class Low:\n    x = {low}\n")
        (tmp_path / "digested_high.py").write_text(
            f"from digested_low import Low\n\nclass High(Low):\n    y = {high}\n"
        )
        module = importlib.import_module("digested_high")
        return module.High, module.Low

    high, low = write()
    before = code_digest(high), code_digest(high, stop=low)
    write(low=2)
    assert code_digest(high) != before[0] and code_digest(high, stop=low) == before[1]
    write(high=2)
    assert code_digest(high) != before[0] and code_digest(high, stop=low) != before[1]
    write()
    assert (code_digest(high), code_digest(high, stop=low)) == before


def test_digests_do_not_depend_on_order_or_name(tmp_path):
    assert digest({"a": [1], "b": None}) == digest({"b": None, "a": [1]}) != digest({"a": [1]})
    for name in ("one", "two"):
        (tmp_path / name).write_text("same")
    assert file_digest(tmp_path / "one") == file_digest(tmp_path / "two")


def test_how_the_last_batch_was_filled_up_is_no_part_of_a_tokenizer(bases, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(bases["llama"])
    tokenizer(["1 + 1"], truncation=True, max_length=2)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    before = tokenizer_fingerprint(loaded)
    loaded(["1 + 1"])
    assert (
        tokenizer_fingerprint(loaded) == before == tokenizer_fingerprint(AutoTokenizer.from_pretrained(bases["llama"]))
    )
    loaded.add_tokens(["<other>"])
    assert tokenizer_fingerprint(loaded) != before
