"""Turn the parser's report of a wrong option, which may run over dozens of lines, into one line with the way out."""

from __future__ import annotations

import difflib
import re

SECTIONS = ["model", "data", "trainer", "run", "seed_everything", "ckpt_path"]
# Lines that describe the type system rather than the mistake.
IGNORED = re.compile(
    r"^(Parser key|Does not validate|Subtypes:|Errors:|Problem with given class_path|Given value|Subclass types expect|"
    r"a class path \(str\)|a dict |Not a valid subclass|Expected a <class 'NoneType'>$|Type typing\.\S+ expects .*:$)"
)


def one_line(message: str) -> str:
    r"""The line of a parser's message that says what is wrong, led by the keys that it is about.

    Example:
        >>> one_line("Subcommand 'fit' does not accept option 'modle.class_path'")
        "option 'modle' is not known; did you mean 'model'?"
        >>> one_line('Parser key "trainer.max_epochs":\n Errors:\n - Expected a <class "int">\n Given value: many')
        'trainer.max_epochs=many: expected <class "int">'
    """
    if unknown := re.search(r"does not accept option '([\w.]+)'", message):
        return _unknown_option(unknown.group(1))
    if unknown := re.search(r"unrecognized arguments: (.*)", message):
        return f"unrecognized arguments: {unknown.group(1)}; all options: madkit STAGE --help"
    keys = re.findall(r'Parser key "([\w.]+)"', message)
    classes = [path.split(".")[-1] for path in re.findall(r"given class_path '([\w.]+)'", message)]
    where = ".".join(keys)
    reason = _reason(message)
    if option := re.search(r"Option '(\w+)' is not accepted", reason):
        owner = classes[-1] if classes else where
        if inner := re.search(r"class_path='([\w.]+)'", reason):
            owner = inner.group(1).split(".")[-1]
        see = f"; its options: madkit fit --{keys[0]}.help {classes[0]}" if classes and len(keys) == 1 else ""
        return f"{where}: {owner} has no option {option.group(1)!r}{see}"
    if missing := re.search(r"Expected a dot import path string: (\S+)", reason):
        return f"{where}: there is no class {missing.group(1)!r}; name one that madkit knows, or give module.Class"
    value = re.search(r"Got value: (.*)$", reason) or re.search(r"^\s*Given value: (.*)$", message, re.MULTILINE)
    shown = (
        f"={value.group(1)}"
        if (value and len(value.group(1)) < 60 and len(keys) == 1) or ("Got value" in reason and value)
        else ""
    )
    reason = re.sub(r"\.? ?Got value: .*$", "", reason)
    reason = (
        re.sub(r"<class '([\w.]+)'>", r"\1", reason)
        .replace("Expected a ", "expected ")
        .replace("Expected an ", "expected ")
    )
    return f"{where}{shown}: {reason}" if where else reason


def _unknown_option(option: str) -> str:
    parts = option.split(".")
    if parts[0] in SECTIONS:
        return f"option {option!r} is not known; all options of `{parts[0]}`: madkit fit --help"
    close = difflib.get_close_matches(parts[0], SECTIONS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"a recipe has the sections {', '.join(SECTIONS)}"
    return f"option {parts[0]!r} is not known; {hint}"


def _reason(message: str) -> str:
    lines = [line.strip(" -") for line in message.splitlines()]
    telling = [line for line in lines if line and not IGNORED.match(line)]
    return re.sub(r"^Type typing\.\S+ .*?: ", "", telling[0]) if telling else " ".join(lines)
