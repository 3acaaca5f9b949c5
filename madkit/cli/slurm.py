"""What Slurm says of a process: whether `srun` started it, beside which others, and how its job is queued again.

Lightning reads the variables of the job, which are those of the task only where a job is one step. A batch script's own
process has them too, and so has a step that takes a part of its allocation.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, MutableMapping

#: What Lightning reads of a job, and what says it of the step.
_OF_STEP = {
    "SLURM_NTASKS": "SLURM_STEP_NUM_TASKS",
    "SLURM_NNODES": "SLURM_STEP_NUM_NODES",
    "SLURM_NODELIST": "SLURM_STEP_NODELIST",
}
#: Numbers from here on are no steps of `srun`'s, but the batch script or the shell of `salloc`.
_SPECIAL = 0xFFFFFF00


def is_task(environ: Mapping[str, str]) -> bool:
    """Whether `srun` has started this process.

    Args:
        environ: the environment.

    Example:
        >>> is_task({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"}), is_task({"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"})
        (False, True)
    """
    step = environ.get("SLURM_STEP_ID", "")
    return "SLURM_JOB_ID" in environ and step.isdigit() and int(step) < _SPECIAL


def settle(environ: MutableMapping[str, str]) -> None:
    """Have Lightning see the step of which this process is a task, or no Slurm where it is none.

    Args:
        environ: the environment, which is changed.

    Example:
        >>> environ = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "1", "SLURM_STEP_NUM_TASKS": "2"}
        >>> environ |= {"SLURM_STEP_NUM_NODES": "1", "SLURM_NTASKS_PER_NODE": "8"}
        >>> settle(environ)
        >>> environ["SLURM_NTASKS"], environ["SLURM_NTASKS_PER_NODE"], environ["MASTER_PORT"]
        ('2', '2', '16079')
    """
    if not is_task(environ):
        environ.pop("SLURM_NTASKS", None)  # by which Lightning knows what `srun` has started
        return
    for name, of_step in _OF_STEP.items():
        if of_step in environ:
            environ[name] = environ[of_step]
    tasks, nodes = (int(environ.get(name, "1")) for name in ("SLURM_NTASKS", "SLURM_NNODES"))
    if tasks % nodes == 0:
        environ["SLURM_NTASKS_PER_NODE"] = str(tasks // nodes)
    if tasks > 1:  # steps of one job may run side by side on a node, and those of the next job beside them
        port = 15000 + (10 * int(environ["SLURM_JOB_ID"]) + 1009 * int(environ["SLURM_STEP_ID"])) % 15000
        environ.setdefault("MASTER_PORT", str(port))


def next_stage(environ: MutableMapping[str, str]) -> None:
    """Have the tasks of a step meet at another port: who of them begins a stage first shall not find the stage before.

    Args:
        environ: the environment, which is changed.
    """
    if is_task(environ) and "MASTER_PORT" in environ:
        environ["MASTER_PORT"] = str(int(environ["MASTER_PORT"]) + 1)


def launch_name(environ: Mapping[str, str]) -> str | None:
    """A name that all tasks of a step have in common, and no other step; None where `srun` has not started this.

    Args:
        environ: the environment.
    """
    if not is_task(environ):
        return None
    parts = ("SLURM_CLUSTER_NAME", "SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_STEP_ID", "SLURM_STEP_LAUNCHER_PORT")
    return "-".join(["slurm", *(environ.get(part, "0") for part in parts)])


def requeue(environ: Mapping[str, str]) -> bool:
    """Ask Slurm to run this process's job again, and say whether it will; only batch jobs can be.

    Args:
        environ: the environment.
    """
    try:
        words = ["scontrol", "requeue", environ["SLURM_JOB_ID"]]
        return subprocess.run(words, capture_output=True, check=False, timeout=60).returncode == 0
    except (KeyError, OSError, subprocess.TimeoutExpired):
        return False
