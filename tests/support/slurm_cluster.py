"""A real Slurm on this machine alone: munged, slurmctld and slurmd of its own, in a folder of its own."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Self

__all__ = ["SlurmCluster", "install_slurm"]

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")


def found(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def install_slurm() -> str:
    """Have Debian's Slurm here; why that cannot be, else ``""``."""
    if all(map(found, PROGRAMS)):
        return "" if os.geteuid() == 0 else "slurmctld and slurmd want to be root here"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "no Slurm, and it cannot be installed without root and apt-get"
    command = ["apt-get", "install", "-y", "--no-install-recommends", "slurm-wlm", "munge"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return "" if done.returncode == 0 else f"apt-get cannot install it: {done.stderr[-300:]}"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


class SlurmCluster:
    """Two partitions, ``low`` and ``high``: jobs of ``high`` take the place of those of ``low``, which are requeued."""

    def __init__(self, folder: Path, slots: int = 2) -> None:
        self._folder, self._processes = folder, list[subprocess.Popen[bytes]]()
        name = socket.gethostname().partition(".")[0]
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        for inner in ("state", "spool", "munge"):
            (folder / inner).mkdir()
        (folder / "munge").chmod(0o755)
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        (folder / "slurm.conf").write_text(
            f"""
ClusterName=radar
SlurmctldHost={name}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=sched_interval=2,requeue_setup_env_fail
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
MinJobAge=3600
KillWait=5
NodeName={name} NodeAddr=127.0.0.1 CPUs={slots} State=UNKNOWN
PartitionName=low Nodes={name} Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
PartitionName=high Nodes={name} PriorityTier=10
"""
        )

    def __enter__(self) -> Self:
        munge = ["--socket", f"{self._folder}/munge/socket", "--key-file", f"{self._folder}/munge.key"]
        more = [f"--{name}-file={self._folder}/munged.{name}" for name in ("pid", "seed", "log")]
        try:
            self._start("munged", "--foreground", "--force", *munge, *more)
            self._wait(lambda: (self._folder / "munge" / "socket").exists(), "munged")
            self._start("slurmctld", "-D", "-c")
            self._start("slurmd", "-D", "-c")
            self._wait(lambda: "idle" in self.run("sinfo", "-h", "-o", "%t", check=False), "a node that is idle")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(subprocess.SubprocessError, OSError):
            self.run("scancel", "--partition=low", check=False)
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def run(self, *words: str, check: bool = True, **more: Any) -> str:
        """What a command says."""
        done = subprocess.run(
            words, capture_output=True, text=True, env={**self.environment, **more}, check=False, timeout=600
        )
        assert done.returncode == 0 or not check, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def state(self, job: str) -> str:
        """Of a job, or of all tasks of an array: what scontrol says."""
        return self.run("scontrol", "--oneliner", "show", "job", job, check=False)

    def wait_for(self, job: str, seconds: float) -> None:
        """Until it is over."""

        def over() -> bool:
            told = [line for line in self.state(job).splitlines() if "JobState=" in line]
            return bool(told) and all("JobState=COMPLETED" in line for line in told)

        self._wait(over, f"job {job}", seconds)

    def _start(self, program: str, *words: str) -> None:
        log = (self._folder / f"{program}.out").open("wb")
        with log:
            self._processes.append(
                subprocess.Popen([str(found(program)), *words], env=self.environment, stdout=log, stderr=log)
            )

    def _wait(self, there: Any, what: str, seconds: float = 180) -> None:
        end = time.monotonic() + seconds
        while not there():
            assert time.monotonic() < end, f"{what}: not there\n{self._logs()}"
            time.sleep(0.2)

    def _logs(self) -> str:
        queue = self.run("squeue", "--all", check=False)
        logs = "\n".join(f"{log}:\n{log.read_text()[-1500:]}" for log in self._folder.glob("*.[lo][ou][gt]"))
        return f"{queue}\n{logs}"
