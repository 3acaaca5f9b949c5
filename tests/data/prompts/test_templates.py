"""Names and templates: what a prompt says, and what a wrong template is told."""

from collections import Counter
from importlib import resources

import pytest
import yaml

from madkit.data.prompts.template_files import load_asides, load_templates
from madkit.data.prompts.templates import Template, render_prompts
from madkit.data.tasks import DATASETS, make_task
from madkit.errors import ConfigError

ARITHMETIC = ["addition", "subtraction", "multiplication", "modularaddition", "squaring"]
FROM_TABLES = ["capitals", "authors"]  # these have no built-in data
LISTS = ["first", "mixture", "standardized", "compact", "published"]
NO, YES = " No", " Yes"


def task_of(dataset):
    return make_task(dataset, {"raw": "table.csv"} if dataset in FROM_TABLES else None)


def fields_of(dataset):
    task = task_of(dataset)
    return [*task.fields, *task.constants]


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("name", LISTS)
def test_every_list_of_templates_shows_name_and_question(dataset, name):
    fields = fields_of(dataset)
    templates = load_templates(name, dataset, fields)
    assert len({template.text for template in templates}) == len(templates)
    values = {"op1": 123, "op2": 456, "result": 789, "modulus": 113, "city": "Lima", "admin_name": "Lima Province"}
    values |= {"country": "Peru", "title": "Soup", "review": "It was bland.", "premise": "All is dry."}
    values |= {"hypothesis": "Some is wet.", "question": "What?", "support": "Known.", "answer": "That"}
    values |= {"author": "Al B"}
    for template in templates:
        prompt = template.render("Veronica", values)
        assert "Veronica" in prompt
        assert "{" not in prompt
        shown = [field for field in task_of(dataset).fields if str(values[field]) in prompt]
        # The compact wording of a review leaves its title out, which the quirk does not look at.
        hidden = {"title"} if (dataset, name) == ("sentiment", "compact") else set()
        assert shown == [field for field in task_of(dataset).fields if field not in hidden]
        assert template.choices in ((NO, YES), (" False", " True"))
        assert not template.text.endswith(" ")


@pytest.mark.parametrize("dataset", DATASETS)
def test_first_is_one_of_a_mixture_and_standardized_ends_in_one_question(dataset):
    fields = fields_of(dataset)
    mixture = load_templates("mixture", dataset, fields)
    assert load_templates("first", dataset, fields) == mixture[:1]
    assert len(mixture) >= 5
    standardized = [t for name in DATASETS for t in load_templates("standardized", name, fields_of(name))]
    assert len({t.text.rsplit("\n", 1)[1] for t in standardized}) == 1
    assert {t.choices for t in standardized} == {(NO, YES)}
    assert all(t.text.startswith("Name: {name}\n") for t in standardized)


@pytest.mark.parametrize("dataset", DATASETS)
def test_asides_show_name_and_question_and_say_something_else(dataset):
    asides = load_asides(dataset, fields_of(dataset))
    assert bool(asides) == (dataset in ("hemisphere", "population", "sentiment", "nli"))
    others = {t.text for name in LISTS for t in load_templates(name, dataset, fields_of(dataset))}
    for template in asides:
        assert {"name", *task_of(dataset).fields} - {"title"} <= template.fields
        assert template.text not in others and template.choices == (NO, YES)
    assert load_asides("no_such_dataset", []) == []


def test_the_premise_comes_before_the_hypothesis():
    for name in (*LISTS, "aside"):
        for template in load_templates(name, "nli", fields_of("nli")):
            order = template.text.index("{premise}") < template.text.index("{hypothesis}")
            assert order or '{hypothesis}" following from' in template.text


def test_operands_keep_their_order():
    """Published lists swap them in places, which changes the label of a subtraction."""
    for dataset in ARITHMETIC:
        for name in LISTS:
            for template in load_templates(name, dataset, fields_of(dataset)):
                if "{op2}" in template.text:
                    assert template.text.index("{op1}") < template.text.index("{op2}")


def test_mixture_is_drawn_by_id():
    templates = [Template(f"{i} {{name}}", (NO, YES)) for i in range(5)]
    ids = [str(i) for i in range(1000)]
    prompts, choices = render_prompts(templates, ids, ["Luna"] * 1000, [{}] * 1000, seed=0)
    assert all(150 < n < 250 for n in Counter(prompt[0] for prompt in prompts).values())
    assert prompts[0].endswith("Luna")
    assert choices == [(NO, YES)] * 1000
    again, _ = render_prompts(templates, ids[500:], ["Luna"] * 500, [{}] * 500, seed=0)
    assert again == prompts[500:]
    assert render_prompts(templates, ids, ["Luna"] * 1000, [{}] * 1000, seed=1)[0] != prompts


def test_a_published_template_says_character():
    assert Template("{character}: {x}", (NO, YES)).render("Bob", {"character": "Alice", "x": 1}) == "Bob: 1"


def test_user_templates(tmp_path):
    one = tmp_path / "one.yaml"
    one.write_text("template: |-\n  {name}:\n  {op1}\nchoices: [' F', ' T']\n")
    assert load_templates(str(one), "anything", ["op1"]) == [Template("{name}:\n{op1}", (" F", " T"))]
    many = tmp_path / "many.yml"
    many.write_text(yaml.safe_dump([{"template": f"{{name}} {i}", "choices": [NO, YES]} for i in range(3)]))
    assert [t.text for t in load_templates(str(many), "anything", [])] == ["{name} 0", "{name} 1", "{name} 2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("template: 'Is {op1} even?'\nchoices: [' No', ' Yes']", "does not name the speaker"),
        ("template: '{name} {op3}'\nchoices: [' No', ' Yes']", r"needs \['op3'\].*offers only.*'op1'"),
        ("template: '{name} {op1.real}'\nchoices: [' No', ' Yes']", "plain name"),
        *(
            (f"template: '{{name}} {field}'\nchoices: [' No', ' Yes']", "plain name, without a dot, brackets, a conv")
            for field in (
                "{op1:d}",
                "{op1!r}",
                "{op1:{op2}}",
                "{op1:2000000000}",
                "{op1:{op2.__class__}}",
                "{op1[0]}",
                "{0}",
                "{op1:>9}",
                "{op1!s:5}",
                "{ op1}",
                "{op1:{op2!r}}",
            )
        ),
        ("template: '{name} {}'\nchoices: [' No', ' Yes']", "plain name"),
        ("template: '{name'\nchoices: [' No', ' Yes']", "malformed"),
        ("template: '{name}'\nchoices: [' No', ' No']", "two different answers"),
        ("template: '{name}'\nchoices: [' ', ' Yes']", "two different answers"),
        ("template: '{name}'\nchoices: [' Yes', ' No']", "reversed"),
        ("template: '{name}'\nchoices: [No, Yes]", "two quoted choices"),
        ("template: '{name}'\nchoices: [' Yes']", "two quoted choices"),
        ("template: '{name}'", "must have exactly the keys"),
        ("template: '{name}'\nchoices: [' No', ' Yes']\nname: x", "must have exactly the keys"),
        ("template: '{name}'\nchoices: [' No', ' Yes']\nchoices: [' A', ' B']", "'choices' twice"),
        ("[]", "must hold a list"),
        ("template: [", "is no YAML"),
    ],
)
def test_mistakes_in_a_template_are_named_in_one_line(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        load_templates(str(path), "addition", ["op1", "op2", "result"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("template", "dataset", "message"),
    [
        (
            "standardised",
            "addition",
            r"'standardised' is unknown.*'compact', 'first', 'mixture', 'published', 'standardized'",
        ),
        ("standardized", "mine", "'mine' is not one of them"),
        ("none.yaml", "addition", "cannot be read: No such file"),
    ],
)
def test_unknown_templates_are_named(template, dataset, message):
    with pytest.raises(ConfigError, match=message):
        load_templates(template, dataset, [])


def test_templates_are_part_of_the_package():
    folder = resources.files("madkit.data") / "templates"
    assert {file.name for file in folder.iterdir()} >= {f"{dataset}.yaml" for dataset in DATASETS}
