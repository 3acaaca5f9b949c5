"""Turn the parser's report of a wrong option, which may run over dozens of lines, into one line with the way out."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence

SECTIONS = ["model", "data", "trainer", "run", "lm", "seed_everything", "ckpt_path"]
# Lines that describe the type system rather than the mistake.
IGNORED = re.compile(
    r"^(Parser key|Does not validate|Subtypes:|Errors:|Problem with given class_path|Given value|Subclass types expect|"
    r"a class path \(str\)|a dict |Not a valid subclass|Expected a <class 'NoneType'>$|Expected a path but|"
    r"Type typing\.\S+ expects .*:$)"
)
_LED = re.compile(r"^(Type typing\.\S+ .*?: |Parser key \"[\w.]+\": ?)+")


def one_line(message: str, options: Sequence[str] = ()) -> str:
    r"""The line of a parser's message that says what is wrong, led by the keys that it is about.

    Args:
        message: the parser's.
        options: all that there are, ``section.option``, to find the one that was meant.

    Example:
        >>> one_line("Subcommand 'fit' does not accept option 'modle.class_path'")
        "option 'modle' is not known; did you mean 'model'?"
        >>> one_line('Parser key "trainer.max_epochs":\n Errors:\n - Expected a <class "int">\n Given value: many')
        'trainer.max_epochs=many: expected int'
    """
    if unknown := re.search(r"does not accept option '([\w.+]+)'", message):
        return _unknown_option(unknown.group(1), options)
    if unknown := re.search(r"[Uu]nrecognized arguments: (\S*)(.*)", message):
        return _unrecognized(unknown.group(1), unknown.group(2), options)
    where = ".".join(re.findall(r'Parser key "([\w.]+)"', message))
    classes = [path.split(".")[-1] for path in re.findall(r"given class_path '([\w.]+)'", message)]
    if missing := re.search(r"arguments are required: (.*?)(\. Got value|$)", message, re.MULTILINE):
        if where:
            return f"{where}: {classes[-1] if classes else 'it'} needs {missing.group(1)}: give it in init_args"
        sections = re.sub(r"\b(fit|validate|test|predict)\.", "", missing.group(1))
        if sections != missing.group(1):
            return f"{sections} is missing: name a recipe with --config RECIPE.yaml, or give it as an option"
    if missing := re.search(r'Key "([\w.]+)" is required', message):
        return f"{missing.group(1)} is missing: give it in the recipe, or as an option"
    reasons, value = _reasons(message), _value(message)
    telling = [reason for reason in reasons if not re.match(r"Expected an? <class", reason)]
    reason = (telling or reasons or [" ".join(message.split())])[0]
    if option := re.search(r"Option '([\w.]+)' is not accepted", reason):
        owner = classes[-1] if classes else where
        if inner := re.search(r"class_path='([\w.]+)'", reason):
            owner = inner.group(1).split(".")[-1]
        keys = where.split(".")
        see = f"; its options: madkit fit --{keys[0]}.help {classes[0]}" if classes and len(keys) == 1 else ""
        return f"{where}: {owner} has no option {option.group(1)!r}: correct its name, or leave it out{see}"
    shown = f"{where}={value}" if value is not None and len(value) < 60 else where
    if expected := _expected(reasons):
        return f"{shown}: expected {expected}"
    told = _class_reason(reason, message) or _plain(reason)
    return f"{shown if told == _plain(reason) else where}: {told}" if where else told


def missing_package(error: BaseException | None) -> str | None:
    """Which class of a recipe needs a package that is not installed, where an error came from that; else None.

    Args:
        error: what was raised when the class was made.
    """
    classes: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        classes += re.findall(r"given class_path '(?:[\w.]+\.)?(\w+)'", str(error))
        if isinstance(error, ImportError):
            text = str(error)
            named = re.search(r"pip install (?:-U )?'?([^\s'`]+)|No module named '(\w+)", text)
            if not classes or named is None:
                return None
            return (
                f"{classes[-1]} needs a package that is not installed here: "
                f"`pip install '{named[1] or named[2]}'`, or name another class"
            )
        error = error.__cause__ or error.__context__
    return None


def _reasons(message: str) -> list[str]:
    """The lines that say what is wrong, without what leads up to it."""
    lines = [_LED.sub("", line.strip(" -")) for line in message.splitlines()]
    return [line for line in lines if line and not IGNORED.match(line)]


def _value(message: str) -> str | None:
    """The value that is wrong: the innermost one."""
    found = re.findall(r"Got value: (.*)$|^\s*Given value: (.*)$", message, re.MULTILINE)
    values = [first or second for first, second in found]
    values = [
        value.partition(". Got value: ")[0] for value in values if not value.startswith(("Namespace", "NestedArg"))
    ]
    return values[0] if values else None


def _expected(reasons: Sequence[str]) -> str:
    """The types that a plain value may have, where all reasons say so; empty where the reason is another one."""
    types: list[str] = []
    choices: list[str] = []
    for reason in reasons:
        plain = re.sub(r"\.? ?Got value: .*$", "", reason)
        if choice := re.match(r"Expected a typing\.Literal\[(.*)\]$", plain):
            choices.append(choice.group(1))
        elif kind := re.match(r"Expected an? <class ['\"]([\w.]+)['\"]>$", plain):
            types.append(kind.group(1))
    if choices:
        return f"one of {', '.join(choices)}"
    plain_types = [kind for kind in dict.fromkeys(types) if not kind.startswith("collections")]
    names_class = any(re.search(r"import path|No module named|subclass|not allowed", reason) for reason in reasons)
    if names_class and set(plain_types) <= {"bool"}:
        return ""
    return " or ".join(plain_types) if {"int", "float", "bool", "str"} & set(types) else ""


def _class_reason(reason: str, message: str) -> str:
    """What is wrong with the name of a class, if that is it."""
    if denied := re.search(r"Importing '([\w.]+)' is not allowed", reason):
        module = denied.group(1).rpartition(".")[0]
        return (
            f"{denied.group(1)!r} is of a module that a recipe may not import: if you trust it, name it on the command "
            f"line, --with {module}"
        )
    if kind := re.search(r"Expected '([\w.]+)' to be a subclass of <class '([\w.]+)'>", reason):
        return f"{kind.group(1)!r} is no {kind.group(2)}; name a class of that kind"
    if kind := re.search(r"Import path ([\w.]+) does not correspond to a subclass of (\S+)", reason):
        return (
            f"{kind.group(1)!r} is no {kind.group(2).split('.')[-1].rstrip(chr(39) + '>')}; name a class of that kind"
        )
    if module := re.search(r"No module named '([\w.]+)'", reason):
        named = re.findall(r"given class_path '([\w.]+)'", message)
        return f"{named[-1] if named else module.group(1)!r} is of the package {module.group(1)!r}, which is not there"
    if path := re.search(r"Unexpected import path format: (\S+)", reason):
        return f"there is no file or class {path.group(1)!r}; check the path, or give module.Class"
    if name := re.search(r"Expected a dot import path string: (\S+)", reason):
        return _no_such_class(name.group(1), re.findall(r"<class '([\w.]+)'>", message))
    return ""


def _no_such_class(name: str, accepted: Sequence[str]) -> str:
    """Say of a name that it is no class, or one of another kind."""
    imported = _imported_classes()
    wanted = [kind.rpartition(".")[2] for kind in accepted if kind.rpartition(".")[2] in imported]
    of_kind = sorted({cls for cls, bases in imported.items() if set(wanted) & bases})
    # Where the parser does not tell the kind of what is within a list, a slip is one of any class.
    close = difflib.get_close_matches(name, of_kind, n=1) or difflib.get_close_matches(name, imported, n=1, cutoff=0.85)
    way_out = f"did you mean {close[0]!r}?" if close else "name one that madkit knows, or give module.Class"
    if name not in imported:
        return f"there is no class {name!r}; {way_out}"
    kinds = {"LightningModule": "a model", "LightningDataModule": "data", "Callback": "a callback", "Score": "a score"}
    is_a = next((word for kind, word in kinds.items() if kind in imported[name]), "another kind of class")
    need = next((word for kind, word in kinds.items() if kind in wanted), " or ".join(wanted) or "this")
    return f"{name!r} is {is_a} and not {need}; {way_out}"


def _imported_classes() -> dict[str, set[str]]:
    """By name, the names of the bases of each public class of madkit and Lightning."""
    found: dict[str, set[str]] = {}
    for module in [name for name in sys.modules if name.split(".")[0] in ("madkit", "lightning")]:
        for name, value in list(vars(sys.modules[module]).items()):
            if isinstance(value, type) and not name.startswith("_"):
                found.setdefault(name, set()).update(base.__name__ for base in value.__mro__)
    return found


def _plain(reason: str) -> str:
    reason = re.sub(r"\.? ?Got value: .*$", "", reason)
    reason = re.sub(r"<class '([\w.]+)'>", r"\1", reason)
    return reason.replace("Expected a ", "expected ").replace("Expected an ", "expected ")


def _unknown_option(option: str, options: Sequence[str]) -> str:
    parts = option.split(".")
    if parts[0] in SECTIONS:
        close = difflib.get_close_matches(option, options, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"all options of `{parts[0]}`: madkit fit --help"
        return f"option {option!r} is not known; {hint}"
    close = difflib.get_close_matches(parts[0], SECTIONS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"a recipe has the sections {', '.join(SECTIONS)}"
    return f"option {parts[0]!r} is not known; {hint}"


def _unrecognized(word: str, rest: str, options: Sequence[str]) -> str:
    if not word.startswith("--"):
        return f"{(word + rest)!r} belongs to no option; an option is --section.option value; all: madkit STAGE --help"
    option = word[2:].partition("=")[0]
    section, _, name = option.partition(".")
    close = difflib.get_close_matches(option, [*options, *SECTIONS], n=1)
    if not close and name and (near := difflib.get_close_matches(section, SECTIONS, n=1)):
        close = [f"{near[0]}.{name}"]
    hint = f"did you mean --{close[0]}?" if close else "all options: madkit STAGE --help"
    return f"unrecognized arguments: {word}{rest}; {hint}"
