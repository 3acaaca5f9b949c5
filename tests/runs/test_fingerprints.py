"""Digests follow content: of code, of files, of plain values."""

import importlib

from madkit.runs.fingerprints import code_digest, digest, file_digest


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
