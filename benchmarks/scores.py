"""Time and memory of madkit's scores against named alternatives: same rows, same run.

    python benchmarks/scores.py                          # 4,000 + 4,000 rows of 4,096 features, 11 sites
    python benchmarks/scores.py --device cuda            # madkit on the GPU, the alternatives on the CPU
    python benchmarks/scores.py --only lof --rounds 3

Rows are float32, as stored activations are, and come one site at a time. The alternatives get them as the float64 they
need; that conversion is in madkit's time and not in theirs. Each part runs in a separate process, after a warm-up on
few rows. Fails if numbers that should be equal are not, or if memory grows with the number of sites. Needs Linux.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module, metadata, util
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import LocalOutlierFactor
from torch import Tensor

from madkit import scores
from madkit.streaming import sparse_rows

K, TOPK, SHARE = 20, 64, 32  # the dense route of the sparse part runs at one SHARE-th of the latents
TOLERANCE, GROWTH = 1e-9, 1.1  # of numbers, and of peak memory: what an allocator may keep, but not another site
DEFAULT = {"trusted": 4000, "test": 4000, "d": 4096, "sites": 11, "latents": 131072, "rounds": 3}
LEAST = {"trusted": 64, "test": 64, "d": 32, "sites": 1, "latents": TOPK * SHARE, "rounds": 1}
GOALS = {"lof": 3.0, "mahalanobis": 10.0}  # how many times faster than each alternative
SQUARE = 1536  # features of the Mahalanobis distance at most
STAGE = (2000, 256)  # prompts and features of a whole stage at most
TOGETHER = 1.3  # how much longer than the slowest of them twelve scores may take
Works = dict[str, Callable[[], Any]]


class Row(NamedTuple):
    """A line of the table: `ratio` is to the line it is compared with; `limit` is of the ratio, else of the value."""

    name: str
    value: float = np.nan
    unit: str = ""
    ratio: float | None = None
    note: str = ""
    limit: float | None = None
    goal: float | None = None
    """What the ratio should be at least; a ratio below is said, and is no failure."""

    def line(self) -> str:
        """Its cells in Markdown."""
        value = "-" if np.isnan(self.value) else f"{self.value:.3g} {self.unit}".strip()
        ratio, limit = (f"{self.ratio:.2f}" if self.ratio else ""), (f"at most {self.limit:g}" if self.limit else "")
        goal = ""
        if self.goal and self.ratio:
            goal = f"goal at least {self.goal:g}: {'met' if self.ratio >= self.goal else '**missed**'}"
        return f"{self.name} | {value} | {ratio} | {'; '.join(filter(None, (self.note, limit, goal)))} |"

    def failed(self) -> bool:
        """Whether it is above its limit, or not a number."""
        return self.limit is not None and not (self.ratio or self.value) <= self.limit


def make_site(number: int, options: argparse.Namespace) -> tuple[Tensor, ...]:
    """Rows (trusted, d) and (test, d) with a power-law spectrum about a far mean; half of the test rows lie off."""
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(number))
    scale = torch.arange(1, options.d + 1).pow(-0.5)
    mixing, mean = draw(options.d, options.d) * (scale / scale.norm())[:, None], 10 * draw(options.d)
    trusted, test = draw(options.trusted, options.d) @ mixing + mean, draw(options.test, options.d) @ mixing
    test[::2] = 1.2 * test[::2] + 0.3 * draw(options.d) @ mixing
    return trusted.to(options.device), (test + mean).to(options.device)


def make_latents(latents: int, options: argparse.Namespace) -> tuple[Tensor, ...]:
    """Sparse rows of `TOPK` latents each, some of which are used far more often than others."""
    draw, step = partial(torch.rand, generator=torch.Generator().manual_seed(0)), latents // TOPK
    uniform = draw(options.trusted, TOPK).pow(3), draw(options.test, TOPK).pow(2.5)
    chosen = ((u * step).long() + torch.arange(TOPK) * step for u in uniform)
    return tuple(sparse_rows(i, draw(i.shape) + 0.1, latents).to(options.device) for i in chosen)


def fit_and_score(make: Callable[[], Any], site: tuple[Tensor, ...]) -> Any:
    """Scores of the test rows, which offline scores also learn from."""
    return make().fit(*site)(site[1])


def timed(works: Works, options: argparse.Namespace) -> tuple[list[Row], list[Any]]:
    """Of each work, by name, the line with its median time and median ratio to the first one, and what it returns."""
    times: dict[str, list[float]] = {name: [] for name in works}
    results: dict[str, Any] = {}
    # CPU time, which other processes disturb least; of a GPU by the clock.
    clock = time.perf_counter if options.device == "cuda" else time.process_time
    for _ in range(options.rounds):
        # One after another in each round, so that a drift of the machine's speed hits all of them.
        for name, work in works.items():
            start = clock()
            results[name] = work()
            if options.device == "cuda":
                torch.cuda.synchronize()
            times[name].append(clock() - start)
            if options.progress:
                print(f"  {name}: {times[name][-1]:.3f} s", file=sys.stderr, flush=True)
    first = next(iter(times.values()))
    rows = [
        Row(name, median(seconds), "s", median(a / b for a, b in zip(seconds, first, strict=True)))
        for name, seconds in times.items()
    ]
    return rows, list(results.values())


def memory(device: str) -> tuple[float, float]:
    """Memory of this process now and at its peak, in GiB: of the GPU's allocator, or resident."""
    if device == "cuda":
        return torch.cuda.memory_allocated() / 2**30, torch.cuda.max_memory_allocated() / 2**30
    # Not getrusage, whose peak starts with that of the process which started this one.
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) / 2**20, int(lines["VmHWM"].split()[0]) / 2**20


def difference(name: str, values: Tensor, expected: Any, note: str = "", scale: Any = 1e-300) -> Row:
    """The line on the largest difference relative to the expected value, or to `scale` where that is larger."""
    values, expected = values.cpu().double(), torch.as_tensor(expected).cpu().double()
    apart = float(((values - expected).abs() / expected.abs().clamp(min=scale)).max())
    return Row(f"largest difference to {name}", apart, note=note, limit=TOLERANCE)


def lof(options: argparse.Namespace) -> list[Row]:
    """Local outlier factor against scikit-learn and PyOD, and against the matrix products it needs."""
    site, works = make_site(0, options), Works()
    trusted, test = (part.double() for part in site)
    left, right = trusted.cpu().numpy(), test.cpu().numpy()
    works[f"madkit LocalOutlierFactor() on {options.device}"] = partial(fit_and_score, scores.LocalOutlierFactor, site)
    works[f"bare float64 products on {options.device}"] = lambda: (trusted @ trusted.T, test @ trusted.T)
    same = partial(LocalOutlierFactor, n_neighbors=K, novelty=True)
    works["scikit-learn LocalOutlierFactor on cpu"] = lambda: -same().fit(left).score_samples(right)
    if util.find_spec("pyod"):
        pyod = partial(import_module("pyod.models.lof").LOF, n_neighbors=K, novelty=True)
        works["PyOD LOF on cpu"] = lambda: pyod().fit(left).decision_function(right)
    rows, (ours, _, *others) = timed(works, options)
    rows = [*rows[:2], *(row._replace(goal=GOALS["lof"]) for row in rows[2:])]
    rows += [difference(row.name, ours, x) for row, x in zip(rows[2:], others, strict=True)]
    return rows if len(others) == 2 else [*rows, Row("PyOD LOF on cpu", note="not run: pyod is not installed")]


def mahalanobis(options: argparse.Namespace) -> list[Row]:
    """Mahalanobis distance against scikit-learn, and against the product and eigenvectors it needs.

    Of about as many rows as features, and of a third of them, as there are mostly. At most `SQUARE` features, since
    scikit-learn's time grows with their cube to minutes. PyOD has no such score but a robust one.
    """
    rows = list[Row]()
    d = min(options.d, SQUARE)
    for n in (min(options.trusted, d), min(options.trusted, d) // 3):
        site = make_site(0, argparse.Namespace(**{**vars(options), "trusted": n, "test": n, "d": d}))
        left, right = (part.double().cpu().numpy() for part in site)
        rows += _mahalanobis(site, left, right, options)
    # One definition where the covariance has full rank: scikit-learn divides it by n, and no distance by d.
    n, few = len(left), min(d, len(left) // 4, 256)
    ours = scores.Mahalanobis(rcond=0).fit(site[0][:, :few])(site[1][:, :few]) * few * n / (n - 1)
    fitted = EmpiricalCovariance().fit(left[:, :few])
    note = f"at {few} features, rcond 0, condition number {np.linalg.cond(fitted.covariance_):.0e}"
    return [*rows, difference("scikit-learn", ours, fitted.mahalanobis(right[:, :few]), note)]


def _mahalanobis(
    site: tuple[Tensor, ...], left: np.ndarray, right: np.ndarray, options: argparse.Namespace
) -> list[Row]:
    (n, d), works = site[0].shape, Works()
    # Of fewer rows than features the products of rows with rows have the same eigenvalues and are fewer.
    x = (site[0] if n >= d else site[0].T).double()
    works[f"madkit Mahalanobis() on {options.device}"] = partial(fit_and_score, scores.Mahalanobis, site)
    works[f"bare product and eigh, {min(n, d)} square, on {options.device}"] = lambda: torch.linalg.eigh(x.T @ x)
    sklearn = "scikit-learn EmpiricalCovariance, whose cut-off is rounding and not rcond 1e-3, on cpu"
    works[sklearn] = lambda: EmpiricalCovariance().fit(left).mahalanobis(right)
    rows = [row._replace(note=f"{n:,} rows of {d:,} features") for row in timed(works, options)[0]]
    return [*rows[:-1], rows[-1]._replace(goal=GOALS["mahalanobis"])]


def twelve() -> list[scores.Score]:
    """The scores of the table, not fitted: what they need of the trusted rows' covariance they share."""
    return [
        scores.Mahalanobis(), scores.Mahalanobis(relative=True), scores.Mahalanobis(shrinkage="ledoit-wolf"),
        scores.Mahalanobis(residual=1.0), scores.DiagonalMahalanobis(), scores.LocalOutlierFactor(K),
        scores.LocalOutlierFactor(K, "simplified"), scores.KNearestNeighbours(K), scores.PrincipalResidual(),
        scores.QuantumEntropy(), scores.LikelihoodRatio(), scores.IsolationForest(),
    ]  # fmt: skip


def apart() -> scores.Score:
    """A score of rows of length one, whose covariance is another: there is nothing that it could share."""
    return scores.Mahalanobis(normalize=True)


def on_site(number: int, makers: Works, options: argparse.Namespace) -> tuple[dict[str, float], list[Any], float]:
    """Seconds by name, numbers, and the peak of memory so far, of scores or collections on one site."""
    site = make_site(number, options)
    rows, results = timed({name: partial(fit_and_score, make, site) for name, make in makers.items()}, options)
    return {row.name: row.value for row in rows}, results, memory(options.device)[1]


def table(options: argparse.Namespace) -> list[Row]:
    """Twelve scores of a site together, against one by one; memory of one site and of all."""
    empty, n = memory(options.device)[0], options.sites
    together = [on_site(i, {"together": lambda: scores.ScoreCollection(twelve())}, options) for i in range(n)]
    makers: Works = {score.name: partial(type(score), **score.config) for score in twelve()}
    alone = [on_site(i, makers, options) for i in range(n if options.full else 1)]
    all_at_once, peak = [seconds["together"] for seconds, *_ in together], [peak for *_, peak in together]
    rows = [Row(f"{name} alone, 1 site", t, "s", t / all_at_once[0]) for name, t in alone[0][0].items()]
    guessed = "" if options.full else f" (1 site times {n})"
    for what, sites, how in (("1 site", 1, ""), (f"{n} sites", n, guessed)):
        total = sum(all_at_once[:sites])
        each = {name: float(np.mean([seconds[name] for seconds, *_ in alone[:sites]])) * sites for name in makers}
        slowest, added = max(each, key=each.__getitem__), sum(each.values())
        rows.append(Row(f"{len(each)} scores together, {what}", total, "s", 1.0))
        rows.append(Row(f"slowest alone, {what}{how}", each[slowest], "s", each[slowest] / total, slowest))
        times = total / each[slowest]
        met = "met" if times <= TOGETHER else "**missed**"
        rows.append(Row(f"together over slowest alone, {what}", times, note=f"goal at most {TOGETHER:g}: {met}"))
        rows.append(Row(f"sum one by one, {what}{how}", added, "s", added / total))
    other: Works = {f"{apart().name}, of another covariance, alone, 1 site": apart}
    other["all of these scores together, 1 site"] = lambda: scores.ScoreCollection([*twelve(), apart()])
    rows += [Row(what, t, "s", t / all_at_once[0]) for what, t in on_site(0, other, options)[0].items()]
    rows.append(Row("peak memory, 1 site", peak[0], "GiB", 1.0, f"{empty:.2f} GiB of it before the first site"))
    rows.append(Row(f"peak memory, {n} sites", peak[-1], "GiB", peak[-1] / peak[0], limit=GROWTH))
    ours, expected = (torch.stack(x).cpu() for x in ([*together[0][1][0].values()], alone[0][1]))
    largest = expected.abs().amax(1, keepdim=True)  # of each score, since some cross zero
    return [*rows, difference("one by one", ours, expected, "relative to the score's largest value", largest)]


def sparse(options: argparse.Namespace) -> list[Row]:
    """Scores of sparse latents: time and memory of the sparse route and of the dense one."""
    before, few = memory(options.device)[0], options.latents // SHARE
    makers, site = (scores.NovelLatents, scores.DiagonalMahalanobis), make_latents(options.latents, options)
    kept_sparse, _ = timed({f"{make.__name__}, sparse": partial(fit_and_score, make, site) for make in makers}, options)
    used = max(memory(options.device)[1] - before, 2**-18)  # a page at least, where all fits into what was free
    thin, note, rows = make_latents(few, options), f"run at {few:,} latents, times {SHARE}", []
    for make, row in zip(makers, kept_sparse, strict=True):
        name, dense = make.__name__, (thin[0].to_dense(), thin[1].to_dense())
        (wide,), (values,) = timed({f"{name}, dense": partial(fit_and_score, make, dense)}, options)
        rows += [row._replace(ratio=1.0), Row(wide.name, SHARE * wide.value, "s", SHARE * wide.value / row.value, note)]
        rows.append(difference("dense rows", fit_and_score(make, thin), values, f"{name} at {few:,} latents"))
    rows.append(Row("memory, sparse", used, "GiB", 1.0, f"rows and both scores, {options.latents:,} latents"))
    size = (options.trusted + options.test) * options.latents * 4 / 2**30
    return [*rows, Row("memory, dense", size, "GiB", size / used, "float32 rows alone; computed, not run")]


def derived(options: argparse.Namespace) -> list[Row]:
    """The `test` stage with the default recipe, with and without the detectors that use the base model.

    As many prompts as there are trusted rows, split as prompts are, at 2 sites, and at most `STAGE` of them and of
    features; without the detector of answers, which are no site. Start-up is left out, which both have.
    """
    prompts, width = min(options.trusted, STAGE[0]), min(options.d, STAGE[1])
    from scale import trainer_in, write_stores  # which import Lightning

    from madkit.detection.data import StoreData
    from madkit.detection.detection import Detection

    recipe = yaml.safe_load((Path(__file__).parents[1] / "recipes" / "test.yaml").read_text())["model"]["init_args"]
    listed = [d for d in recipe["detectors"] if d["feature"] != "answers"]
    alone = [d for d in listed if isinstance(d["feature"], str) and "background" not in d]
    regressed = [d for d in listed if named(d["feature"]) in ("Conditional", "Paired")]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "model" / "addition"
        write_stores(run, prompts, 2, width, ("attribution", "probe"))

        def judged(chosen: list[dict[str, Any]]) -> None:
            made = [detector(each) for each in chosen]
            # What offline scores learn from: the prompts of the test.
            stage = Detection(made, recipe["aggregations"], untrusted="test", ceiling=recipe["ceiling"])
            trainer_in(run).test(stage, StoreData("addition"), verbose=False)

        sets = {"of the tuned model and the control": alone, "all, with those that use the base model": listed}
        sets |= {"those that regress on the base model": regressed, "one of these": regressed[:1]}
        rows, _ = timed(
            {f"madkit test, {len(d)} detectors: {of}": partial(judged, d) for of, d in sets.items()}, options
        )
    met = "met" if (rows[1].ratio or 0) <= TOGETHER else "**missed**"
    about = f"{prompts:,} prompts, {width} features"
    return [rows[0]._replace(note=about), rows[1]._replace(note=f"goal at most {TOGETHER:g}: {met}"), *rows[2:]]


def named(part: Any) -> str:
    """The class that a part of a recipe names."""
    return part["class_path"] if isinstance(part, dict) else part


def detector(part: dict[str, Any]) -> Any:
    """A detector as a recipe lists it."""
    from madkit import derived as features
    from madkit.detection.detector import Detector

    feature, score = part["feature"], part["score"]
    if isinstance(feature, dict):
        feature = getattr(features, feature["class_path"])(**feature.get("init_args", {}))
    made = getattr(scores, score["class_path"])(**score.get("init_args", {}))
    return Detector(feature, made, **{key: part[key] for key in ("adapter", "background") if key in part})


PARTS = {"lof": lof, "mahalanobis": mahalanobis, "table": table, "sparse": sparse, "derived": derived}


def run_part(part: str, options: argparse.Namespace) -> list[Row]:
    """The part's rows, after a warm-up."""
    PARTS[part](argparse.Namespace(**{**vars(options), **LEAST, "progress": False}))
    return PARTS[part](options)


def main() -> None:
    """Each part in a separate process, so that its peak of memory is that of no other; then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in DEFAULT.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"default {value:,}, at least {LEAST[name]:,}")
    parser.add_argument("--device", choices=["cpu", "cuda"][: 1 + torch.cuda.is_available()], default="cpu")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--full", action="store_true", help="time single scores on all sites, not on one")
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    options = parser.parse_args(namespace=argparse.Namespace(progress=True))
    if any(getattr(options, name) < least for name, least in LEAST.items()):
        parser.error(f"too small: give at least {LEAST}")
    # Freed memory goes back to the system, so that the peak is what was in use and not what glibc kept for later.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**22))
    lines = list[tuple[str, Row]]()
    for part in options.only:
        print(part, file=sys.stderr, flush=True)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            lines += [(part, row) for row in process.submit(run_part, part, options).result()]
    about = f"{options.trusted:,} trusted, {options.test:,} test rows, d = {options.d:,}; fit and score, median of "
    about += f"{options.rounds} rounds, {'seconds' if options.device == 'cuda' else 'CPU seconds'}; "
    about += f"{torch.get_num_threads()} threads, scikit-learn {metadata.version('scikit-learn')}"
    print(f"{about}\n\n| part | measured | value | ratio | note |\n|---|---|---:|---:|---|")
    print(*(f"| {part} | {row.line()}" for part, row in lines), sep="\n")
    if options.out:
        facts = {"about": about, "rows": [{"part": part, **row._asdict()} for part, row in lines]}
        options.out.write_text(json.dumps(facts, indent=1).replace("NaN", "null") + "\n")
    sys.exit("\n".join(f"above its limit: {part}, {row.name}" for part, row in lines if row.failed()) or None)


if __name__ == "__main__":
    main()
