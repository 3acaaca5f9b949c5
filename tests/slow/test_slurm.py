"""The commands of docs/clusters.md, on a cluster of this machine: disturbed or not, the same numbers.

Nothing is installed: where Slurm is not at hand the tests are skipped. The recipes are shortened, so the models learn
nothing; but every stage of the pipeline runs.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

sys.path[:0] = [str(Path(__file__).parent)]

from slurm.cluster import Cluster, why_not  # noqa: E402
from slurm.project import commands, environment, make_project  # noqa: E402

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())
DATASETS = ("addition", "squaring")


@pytest.fixture(scope="module")
def cluster():
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # a socket's path has to be short
    with Cluster(folder) as started:
        yield started
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def shown():
    """Its commands by what they are: two tasks, a job for each stage, all stages in a job."""
    two_tasks, jobs, one_job = commands()
    assert (two_tasks[0], jobs[0], one_job[0]) == ("sbatch", "make", "sbatch")
    return {"two tasks": two_tasks, "jobs": jobs, "one job": one_job}


class Shell:
    """A shell in a copy of the project."""

    def __init__(self, folder, cluster):
        self.folder, self.cluster = make_project(folder), cluster
        self.environment = environment(folder, cluster)

    def run(self, words):
        return subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=400
        )

    def submit(self, words):
        done = self.run(words)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[-1]

    def wait_for(self, job, *patterns):
        """Wait until each pattern names a file in the run folders, while a job runs."""
        deadline = time.monotonic() + 300
        while not all(list((self.folder / "runs" / "tiny-llama").glob(pattern)) for pattern in patterns):
            assert self.cluster.state(job) not in ("FAILED", "COMPLETED"), self.log(job)
            assert time.monotonic() < deadline, self.log(job)
            time.sleep(0.05)

    def log(self, job):
        path = self.folder / f"slurm-{job}.out"
        return path.read_text()[-4000:] if path.exists() else ""

    def run_folder(self, name):
        return self.folder / "runs" / "tiny-llama" / name


def weights(folder):
    return load_file(folder / "adapter" / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def undisturbed(cluster, shown, tmp_path_factory):
    """The pipeline, each stage a job of its own."""
    shell = Shell(tmp_path_factory.mktemp("undisturbed"), cluster)
    done = shell.run(shown["jobs"])
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return shell


def test_a_pipeline_that_is_disturbed_three_times_ends_in_the_same_results(cluster, shown, undisturbed, tmp_path):
    shell = Shell(tmp_path, cluster)
    # Some stage is told to end while it trains: the job fails, and the same command continues.
    job = shell.submit(shown["one job"])
    shell.wait_for(job, "*/checkpoints/*/last.ckpt")
    cluster.run("scancel", "--signal=TERM", job)
    assert cluster.wait(job) == "FAILED"
    assert "interrupted; the same command continues" in shell.log(job)
    # Slurm warns that the time is over, as --signal has it do: the job is queued again.
    job = shell.submit(shown["one job"])
    shell.wait_for(job, "squaring/checkpoints/*/last.ckpt")
    assert not (shell.run_folder("squaring") / "fit.json").exists()
    cluster.run("scancel", "--signal=USR1", job)
    shell.wait_for(job, "addition/predict.json")
    # The job is preempted or its node fails: nothing can end in order, and Slurm queues it again.
    cluster.run("scontrol", "requeue", job)
    assert cluster.wait(job) == "COMPLETED", shell.log(job)
    restarts = dict(w.partition("=")[::2] for w in cluster.run("scontrol", "show", "job", "-o", job).split())
    assert restarts["Restarts"] == "2"
    for dataset in DATASETS:
        ours, theirs = (s.run_folder(dataset) for s in (undisturbed, shell))
        for name in ("results", "scores", "comparisons"):
            tables = [pd.read_parquet(folder / "detection" / f"{name}.parquet") for folder in (ours, theirs)]
            pd.testing.assert_frame_equal(*tables)
        one, two = weights(ours), weights(theirs)
        assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    tables = [pd.read_csv(s.folder / "figures" / "table1.csv") for s in (undisturbed, shell)]
    pd.testing.assert_frame_equal(*(table.drop(columns="milliseconds_per_prompt") for table in tables))
    assert not list(shell.folder.rglob("hpc_ckpt*"))  # Lightning's, which a later recipe would load


def test_two_tasks_train_the_same_adapter_although_they_are_queued_again(cluster, shown, undisturbed, tmp_path):
    shell = Shell(tmp_path, cluster)
    if undisturbed.run_folder("base").exists():
        shutil.copytree(undisturbed.run_folder("base"), shell.run_folder("base"))
    job = shell.submit(shown["two tasks"])
    shell.wait_for(job, "addition/checkpoints/*/last.ckpt")
    cluster.run("scancel", "--signal=USR1", job)
    assert cluster.wait(job) == "COMPLETED", shell.log(job)
    # One of the two speaks for both; Slurm begins a new log when it queues a job again.
    ours, theirs = (s.run_folder("addition") for s in (undisturbed, shell))
    one, two = (pd.read_parquet(folder / "history.parquet").drop(columns="run") for folder in (ours, theirs))
    assert one[["step", "metric"]].equals(two[["step", "metric"]])
    np.testing.assert_allclose(two["value"], one["value"], rtol=1e-4, atol=1e-5)
    final = [json.loads((folder / "fit.json").read_text())["metrics"] for folder in (ours, theirs)]
    assert final[1] == pytest.approx(final[0], rel=1e-4, abs=1e-5)
    one, two = weights(ours), weights(theirs)
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-4)
