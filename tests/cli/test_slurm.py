"""A task of Slurm's is seen as what it is, and its job is queued again when Slurm says that its time is over."""

import os
import signal

import pytest
from lightning.fabric.plugins.environments import SLURMEnvironment

from madkit.cli import slurm
from madkit.cli.signals import Interrupted, interruptible, say_interrupted

#: A batch job of four tasks on two nodes, as Slurm 22.05 describes it; and a step of two tasks on its second node.
JOB = {
    "SLURM_JOB_ID": "10007", "SLURM_JOB_NAME": "wrap", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NNODES": "2", "SLURM_NODELIST": "node[1-2]", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
}  # fmt: skip
STEP = {
    **JOB, "SLURM_STEP_ID": "3", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1", "SLURM_PROCID": "1",
    "SLURM_STEP_NODELIST": "node2", "SLURM_STEP_LAUNCHER_PORT": "37403", "SLURM_LOCALID": "1",
}  # fmt: skip
#: A shell that `salloc` opens is a step too, of a special number.
SHELL = {**JOB, "SLURM_STEP_ID": str(0xFFFFFFFA)}


def within(monkeypatch, environ):
    for name in ("MASTER_PORT", "MASTER_ADDR", *(name for name in os.environ if name.startswith("SLURM_"))):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASTER_PORT", "")  # so that it is restored
    monkeypatch.delenv("MASTER_PORT")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    slurm.settle(os.environ)


@pytest.mark.parametrize(("environ", "tasks"), [(JOB, None), (SHELL, None), (STEP, 2)])
def test_lightning_sees_the_step_and_not_the_job(environ, tasks, monkeypatch):
    within(monkeypatch, environ)
    monkeypatch.setattr("shutil.which", lambda name: None)  # whether Slurm is installed here
    assert SLURMEnvironment.detect() == (tasks is not None)
    if tasks is not None:
        found = SLURMEnvironment()
        found.validate_settings(num_devices=2, num_nodes=1)
        assert (found.world_size(), found.global_rank(), found.main_address) == (2, 1, "node2")


def test_steps_that_may_share_a_node_meet_at_ports_of_their_own(monkeypatch):
    ports = set()
    for job in range(10000, 10020):
        for step in range(4):
            within(monkeypatch, {**STEP, "SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)})
            ports.add(SLURMEnvironment().main_port)
    assert len(ports) == 80 and min(ports) >= 15000 and max(ports) < 30000


def test_the_stages_of_a_chain_meet_at_ports_of_their_own(monkeypatch):
    ports = []
    within(monkeypatch, STEP)
    for _ in range(3):
        slurm.settle(os.environ)
        ports.append(SLURMEnvironment().main_port)
        slurm.next_stage(os.environ)
    assert len(set(ports)) == 3


def test_the_tasks_of_a_step_have_a_name_in_common_and_the_next_run_of_the_job_has_another():
    names = [slurm.launch_name({**STEP, "SLURM_PROCID": task}) for task in ("0", "1")]
    assert names[0] == names[1] != slurm.launch_name({**STEP, "SLURM_RESTART_COUNT": "1"})
    assert slurm.launch_name(JOB) is None


@pytest.mark.parametrize(("task", "status", "asked"), [("0", 0, True), ("0", 1, True), ("1", 0, False)])
def test_sigusr1_ends_a_task_and_the_first_one_queues_the_job_again(task, status, asked, monkeypatch, tmp_path, capsys):
    program = tmp_path / "scontrol"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nexit {status}\n')
    program.chmod(0o755)
    within(monkeypatch, {**STEP, "SLURM_PROCID": task, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    with pytest.raises(Interrupted) as caught, interruptible():
        os.kill(os.getpid(), signal.SIGUSR1)
    assert caught.value.status == 138
    say_interrupted(caught.value.signum)
    assert (tmp_path / "asked").exists() == asked
    if asked:
        assert (tmp_path / "asked").read_text() == "requeue 10007\n"
        said = "its job is queued again" if status == 0 else "the same command continues"
        assert said in capsys.readouterr().err
