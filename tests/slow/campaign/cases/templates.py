"""Templates and names: of datasets, runs and speakers; from strangers and by mistake."""

from campaign.case import Accepted, Case, Either, Refused
from campaign.cases.user_files import ROWS, TEMPLATE, lines, own, put
from campaign.faults import memory
from campaign.steps import command, fit, predict

_YAML = "template: {text}\nchoices: [' No', ' Yes']\n"


def shown(expect, template="mine.yaml", **options):
    """`data show` with a template."""
    return command(
        expect, "data", "show", "mine", "--source", "mine.jsonl", "--template", template, "--count", "2", **options
    )


def bad(name, template, *says, file="mine.yaml", **options):
    """A template that is refused, by `data show`."""
    return Case(name, (shown(Refused(*says), file, **options),), (put(lines(ROWS)), lambda p: p.write(file, template)))


def text(name, template, *says, **options):
    """The text of a template that is refused."""
    return bad(
        name,
        _YAML.format(text=repr(template).replace("\\n", " ") if "'" not in template else f'"{template}"'),
        *says,
        **options,
    )


def named(name, dataset, expect):
    """A dataset's name."""
    step = own(expect)
    words = tuple(
        dataset if before == "--data.dataset" else word
        for before, word in zip(("", *step.words), step.words, strict=False)
    )
    return Case(name, (type(step)(words, expect),), (put(lines(ROWS)),))


def _made(dataset):
    def check(place):
        return None if (place.root / "runs" / dataset / "fit.json").is_file() else ("lost", "exit 0 without fit.json")

    return Accepted(check)


LIMIT = (memory(3 << 30),)

CASES = [
    text("a format that reads attributes", "{name} {number:{name.__class__.__mro__}}", "number|name", "format|plain"),
    text("a format with a field in it", "{name} {number:{width}}", "number|width", "format|plain"),
    text("a format for numbers on a name", "{name:d} {number}", "name", "format|plain"),
    text("a format for floats on a number", "{name} {number:.2f}", "number", "format|plain"),
    text("a conversion that does not exist", "{name!z} {number}", "name", "conver|plain|!z"),
    text("a conversion", "{name!r} {number}", "name", "conver|plain|!r"),
    text("a width of two billion", "{name:2000000000} {number}", "name", "format|plain", faults=LIMIT),
    text("a width of two million", "{name} {number:>2000000}", "number", "format|plain", faults=LIMIT),
    text("an attribute", "{name.__class__} {number}", "name", "plain|field"),
    text("an index", "{name[0]} {number}", "name", "plain|field"),
    text("a field without a name", "{name} {} {number}", "field|plain|name"),
    text("a field that is a number", "{name} {0} {number}", "0", "field|plain"),
    text("a field with spaces", "{name} { number }", "number", "field|plain"),
    text("a brace that does not close", "{name} {number", "malformed|brace|expected"),
    text("a brace that does not open", "{name} number}", "malformed|brace|single"),
    text("a field that no question has", "{name} {numbre}", "numbre", "number"),
    text("nobody speaks", "{number} divides by 3?", "name"),
    text("an empty text", "", "name|empty|text"),
    bad("a template in Latin-1", "template: 'für {name} {number}'\nchoices: [' No', ' Yes']\n".encode("latin-1"), "mine.yaml", "UTF-8|encod"),
    bad("a template in UTF-16", TEMPLATE.encode("utf-16"), "mine.yaml", "UTF|encod|YAML"),
    bad("a binary template", bytes(range(256)), "mine.yaml", "UTF|encod|YAML|text"),
    bad("a template that is no YAML", "template: [", "mine.yaml", "YAML|line"),
    bad("an empty template", "", "mine.yaml", "template"),
    bad("a template that is a word", "hello", "mine.yaml", "template"),
    Case("a template that is not there", (shown(Refused("nowhere.yaml"), "nowhere.yaml"),), (put(lines(ROWS)),)),
    Case("a folder as template", (shown(Refused("folder.yaml"), "folder.yaml"),), (put(lines(ROWS)), lambda p: (p.root / "folder.yaml").mkdir())),
    Case("a template of another suffix", (shown(Refused("template", "mine.txt"), "mine.txt"),), (put(lines(ROWS)), lambda p: p.write("mine.txt", TEMPLATE))),
    bad("choices without quotes", "template: '{name} {number}'\nchoices: [No, Yes]\n", "choices", "quoted|text|False"),
    bad("one choice", "template: '{name} {number}'\nchoices: [' Yes']\n", "choices", "two"),
    bad("three choices", "template: '{name} {number}'\nchoices: [' No', ' Yes', ' Perhaps']\n", "choices", "two"),
    bad("equal choices", "template: '{name} {number}'\nchoices: [' Yes', ' Yes']\n", "choices", "different"),
    bad("choices that differ in spaces", "template: '{name} {number}'\nchoices: ['Yes', ' Yes']\n", "choices", "different|same"),
    bad("reversed choices", "template: '{name} {number}'\nchoices: [' Yes', ' No']\n", "choices", "reversed|order|first"),
    bad("empty choices", "template: '{name} {number}'\nchoices: ['', ' Yes']\n", "choices", "empty|different"),
    bad("no choices", "template: '{name} {number}'\n", "choices"),
    bad("a key too many", TEMPLATE + "choice: x\n", "choice", "keys|exactly"),
    bad("a key twice", TEMPLATE + "choices: [' False', ' True']\n", "choices|twice|key", "twice|duplicate|again|two"),
    bad("a Python object", "!!python/object/apply:os.getcwd []", "mine.yaml", "python|tag"),
    bad("YAML that grows without bound", "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{c}: &{c} [{','.join(['*' + p] * 9)}]\n" for p, c in zip("abcdefg", "bcdefgh", strict=True)) + "template: *h\nchoices: *h\n", "mine.yaml|template", faults=LIMIT),
    Case("a byte-order mark in a template", (shown(Accepted()),), (put(lines(ROWS)), lambda p: p.write("mine.yaml", TEMPLATE.encode("utf-8-sig")))),
    Case("doubled braces", (shown(Accepted(says="{braces}")),), (put(lines(ROWS)), lambda p: p.write("mine.yaml", TEMPLATE.replace("divides", "{{braces}} divides")))),
    Case("braces in a value", (shown(Accepted(says="0{name}")),), (put(lines([{**r, "template_args": {"number": f"{i}0{{name}}"}} for i, r in enumerate(ROWS)])),)),
    named("a dataset that is an absolute path", "@root/escaped", Refused("dataset", "escaped")),
    named("a dataset one up", "../up", Refused("dataset", r"\.\./up")),
    named("a dataset two up", "../../up", Refused("dataset", r"\.\./up")),
    named("a dataset that goes up inside", "a/../../up", Refused("dataset", "a/../../up")),
    named("a dataset that is the folder itself", ".", Refused("dataset", r"'\.'")),
    named("a dataset that is the folder above", "..", Refused("dataset", r"'\.\.'")),
    named("a dataset with a slash", "a/b", Refused("dataset", "a/b")),
    named("a dataset with a backslash", "..\\up", Refused("dataset", r"up")),
    named("a dataset without a name", "", Refused("dataset", "''|empty|name")),
    named("a dataset of spaces", "  ", Refused("dataset", "name")),
    named("a dataset with a line break", "a\nb", Refused("dataset", "name|line|character")),
    named("a dataset with a control character", "a\x1b[31mb", Refused("dataset", "name|character")),
    named("a dataset of 300 letters", "x" * 300, Refused("dataset", "xxx", "long|255|letters|characters|bytes")),
    named("a dataset of 100 letters of three bytes", "語" * 100, Refused("dataset", "long|255|letters|characters|bytes")),
    named("a dataset that begins with a dash", "-x", Either(_made("-x"), Refused("dataset|--data|-x"))),
    named("a dataset with dollars", "a$b^$c", Either(_made("a$b^$c"), Refused("dataset", r"a\$b"))),
    named("a dataset with one dollar", "a$b", Either(_made("a$b"), Refused("dataset", r"a\$b"))),
    named("a dataset with TeX", r"\frac_{x", Either(Accepted(), Refused("dataset", "frac"))),
    named("a dataset with a percent sign", "50%", Either(_made("50%"), Refused("dataset", "50%"))),
    named("a dataset with umlauts", "Größe", Either(_made("Größe"), Refused("dataset", "Größe"))),
    named("a dataset with spaces", "my own set", Either(_made("my own set"), Refused("dataset", "my own set"))),
    named("a dataset with markup", "<b>x", Either(_made("<b>x"), Refused("dataset", "<b>x"))),
    named("a dataset with braces", "{x}", Either(Accepted(), Refused("dataset", "{x}"))),
    named("a dataset with a star", "a*", Either(_made("a*"), Refused("dataset", r"a\*"))),
    named("a dataset called as a part of the run", "adapter", Either(_made("adapter"), Refused("dataset", "adapter"))),
    Case("a run with spaces and quotes", (fit(Accepted(lambda p: None if (p.root / "runs/my 'own' run/addition/fit.json").is_file() else ("lost", "no fit.json")), "--run", "runs/my 'own' run"),)),
    Case("a run with dollars", (fit(Accepted(lambda p: None if (p.root / "runs/a$b^$c/addition/fit.json").is_file() else ("lost", "no fit.json")), "--run", "runs/a$b^$c"),)),
    Case("a run in /proc", (fit(Refused("/proc/x"), "--run", "/proc/x"),)),
    Case("a run below a device", (fit(Refused("/dev/null/x"), "--run", "/dev/null/x"),)),
    Case("predict of a dataset one up", (predict(Refused("dataset", r"\.\./up"), "--data.dataset", "../up"),), (), "fitted"),
]  # fmt: skip
