"""The commands that are no stages: each is a function whose signature is its command line."""

#: By name: the path of the function, which returns the exit status, and a line of help.
COMMANDS: dict[str, tuple[str, str]] = {
    "figures": ("madkit.cli.commands.figures.figures", "draw tables and figures of any number of runs"),
    "study": ("madkit.cli.commands.study.study", "many models and datasets, from the fit to the figures, side by side"),
    "card": ("madkit.cli.commands.card.card", "write a card of each run: what it is, and what it found"),
    "push": ("madkit.cli.commands.push.push", "put a run's card, adapter, recipes or features on the hub"),
    "recipes": ("madkit.cli.commands.recipes.recipes", "write the recipes that come with madkit"),
    "import": (
        "madkit.cli.commands.import_.import_",
        "activations made elsewhere become a store that `madkit test` reads",
    ),
    "monitor": ("madkit.cli.commands.monitor.monitor", "watch runs in TensorBoard"),
    "watch fit": ("madkit.cli.commands.watch_fit.watch_fit", "fit a monitor of a model on trusted prompts"),
    "watch score": ("madkit.cli.commands.watch_score.watch_score", "score new prompts, and say which alarm"),
    "watch check": (
        "madkit.cli.commands.watch_check.watch_check",
        "say whether what comes in has drifted away from what was trusted",
    ),
    "watch serve": (
        "madkit.cli.commands.watch_serve.watch_serve",
        "answer requests for a monitor's scores over HTTP",
    ),
    "bundle": (
        "madkit.cli.commands.bundle.bundle",
        "collect wheels, weights and recipes for a machine without a network",
    ),
    "data build": (
        "madkit.cli.commands.build.build",
        "make a dataset's records, of a raw table or by rule, and write them",
    ),
    "data check": ("madkit.cli.commands.check.check", "say what is wrong with a dataset, and what is in it"),
    "data show": ("madkit.cli.commands.show.show", "print some prompts of a dataset, with the answer of each"),
    "data templates": (
        "madkit.cli.commands.templates.templates",
        "write the wordings of the published quirky models, from a copy of their repository",
    ),
    "data difficulty": (
        "madkit.cli.commands.difficulty.difficulty",
        "let language models judge how hard each question is",
    ),
}
