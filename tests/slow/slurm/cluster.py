"""A cluster of one machine: munged, slurmctld and slurmd, with all they keep in a folder of their own."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("setpriv", "munged", "slurmctld", "slurmd", "srun", "sbatch", "scontrol")
CONFIGURATION = """\
ClusterName=madkit
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A job that is queued again waits until the credential of its first run has expired.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
KillWait=5
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


def why_not():
    """Why no cluster can be started here; empty where one can."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        return f"no {', '.join(missing)}: install Debian's slurm-wlm and munge"
    return "" if os.geteuid() == 0 else "the daemons need root"


class Cluster:
    """A context in which the commands of Slurm work, given `environment`.

    Args:
        folder: for the configuration, state and logs; a short path, because a socket lies in it.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self._daemons = []
        path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "MAKE", "MFLAGS", "PYTEST_"))},
            "PATH": path,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
        }

    def __enter__(self):
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            two.bind(("127.0.0.1", 0))
            ports = (one.getsockname()[1], two.getsockname()[1])
        text = CONFIGURATION.format(host=socket.gethostname().partition(".")[0], folder=self.folder, ports=ports)
        (self.folder / "slurm.conf").write_text(text)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        names = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.pid", "seed-file": "munge.seed"}
        options = [f"--{option}={self.folder / name}" for option, name in names.items()]
        try:
            self._start("munged", "--foreground", "--force", *options)
            self._until(lambda: (self.folder / "munge.socket").exists(), "munged listens")
            self._start("slurmctld", "-D")
            self._until(lambda: self._succeeds("scontrol", "ping"), "slurmctld answers")
            self._start("slurmd", "-D", "-N", "localhost")
            self._until(lambda: "idle" in self.run("sinfo", "-h", "-o", "%t"), "the node is idle")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._succeeds("scancel", "--signal=KILL", "--full", "--user=root")
        self._succeeds("scancel", "--user=root")
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in reversed(self._daemons):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def run(self, *words):
        """What a command of Slurm's says."""
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, check=True).stdout.strip()

    def state(self, job):
        """The state of a job, such as RUNNING or COMPLETED."""
        return dict(word.partition("=")[::2] for word in self.run("scontrol", "show", "job", "-o", job).split())[
            "JobState"
        ]

    def wait(self, job, seconds=300):
        """Wait until a job has ended, and give the state in which it has."""
        ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
        self._until(lambda: self.state(job) in ended, f"job {job} has ended", seconds)
        return self.state(job)

    def _start(self, *words):
        with (self.folder / f"{words[0]}.log").open("w") as log:
            # They end with this process, however it ends.
            words = ("setpriv", "--pdeathsig", "TERM", *words)
            self._daemons.append(subprocess.Popen(words, env=self.environment, stdout=log, stderr=log))

    def _succeeds(self, *words):
        return subprocess.run(words, env=self.environment, capture_output=True, check=False).returncode == 0

    def _until(self, condition, what, seconds=30):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}\n{self.logs()}"
            time.sleep(0.1)

    def logs(self):
        """The last lines of the daemons' logs."""
        return "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in sorted(self.folder.glob("*.log")))
