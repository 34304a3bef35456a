"""A SLURM script for a synchronous run: one process for each GPU, requeued until it is done.

Lightning reads the process's place from the variables that ``srun`` sets. When the time is nearly
up SLURM sends SIGUSR1; the run saves and exits with code 138, and the script puts the job back into
the queue. Every start says ``--resume``, which begins afresh where there is no checkpoint yet.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from xception.errors import InputError

_INTERRUPTED = 138  # 128 + SIGUSR1, as training.interruption has it
_TIME = re.compile(r"(\d+-)?\d{1,2}(:\d{2}){0,2}|\d+(:\d{2})?")


@dataclass(frozen=True)
class SlurmJob:
    """What is asked of the cluster.

    Attributes:
        name: The job's name.
        nodes: Machines.
        gpus_per_node: GPUs of each, and processes; 0: one process on each machine, on its CPU.
        cpus_per_gpu: CPU cores for each process, which decode its images.
        time: Limit of one start, as SLURM writes it: minutes, HH:MM:SS or D-HH:MM:SS.
        partition: The queue; empty: the cluster's own choice.
        account: Who pays; empty: the cluster's own choice.
        notice_seconds: How long before the end of the time the run is told to save.
        log: File that everything is appended to.

    Raises:
        InputError: A number or the time is out of range.
    """

    name: str
    nodes: int = 1
    gpus_per_node: int = 8
    cpus_per_gpu: int = 8
    time: str = "24:00:00"
    partition: str = ""
    account: str = ""
    notice_seconds: int = 180
    log: str = "%x-%j.log"

    def __post_init__(self) -> None:
        for option, value, least in (
            ("--nodes", self.nodes, 1),
            ("--gpus-per-node", self.gpus_per_node, 0),
            ("--cpus-per-gpu", self.cpus_per_gpu, 1),
            ("--notice-seconds", self.notice_seconds, 1),
        ):
            if value < least:
                raise InputError(f"{option} is {value}; it must be at least {least}")
        if not _TIME.fullmatch(self.time):
            raise InputError(f"--time is '{self.time}'; write it as HH:MM:SS or D-HH:MM:SS")
        for option, word in (("--partition", self.partition), ("--account", self.account)):
            if word and not re.fullmatch(r"[\w.,-]+", word):
                raise InputError(f"{option} is '{word}'; it must be a plain name")


def slurm_script(job: SlurmJob, command: Sequence[str]) -> str:
    """The text for ``sbatch``.

    Args:
        job: What is asked of the cluster.
        command: The words of ``xception train``, from the interpreter on, with ``--resume``.

    Example:
        >>> text = slurm_script(SlurmJob("jft", nodes=2), ["xception", "train", "jft-xception"])
        >>> [line for line in text.splitlines() if "nodes=" in line]
        ['#SBATCH --nodes=2']
    """
    processes = max(1, job.gpus_per_node)
    requests = {
        "job-name": f"xception-{re.sub(r'[^A-Za-z0-9_.-]', '-', job.name)}",
        "nodes": job.nodes,
        "ntasks-per-node": processes,
        "gpus-per-node": job.gpus_per_node or None,
        "cpus-per-task": job.cpus_per_gpu,
        "time": job.time,
        "partition": job.partition or None,
        "account": job.account or None,
        "signal": f"USR1@{job.notice_seconds}",
        "output": job.log,
        "open-mode": "append",
        "requeue": "",
    }
    lines = [
        f"#SBATCH --{key}={value}" if value != "" else f"#SBATCH --{key}"
        for key, value in requests.items()
        if value is not None
    ]
    parts = ["#!/bin/bash", *lines, *_NOTE, "export OMP_NUM_THREADS=1"]
    # Of Lightning's two ways to requeue only this one stays: the run saves by itself.
    parts += [
        f"srun --cpus-per-task={job.cpus_per_gpu} {shlex.join(command)}",
        "code=$?",
        f'if [ "$code" -eq {_INTERRUPTED} ]; then  # the time is up, and the run is saved',
        '    scontrol requeue "$SLURM_JOB_ID" && exit 0',
        "fi",
        'exit "$code"',
    ]
    return "\n".join(parts) + "\n"


_NOTE = (
    "",
    "# Written by `xception train … --launcher slurm`.",
    "# NOT VERIFIED ON A CLUSTER: it follows the manuals of SLURM and of Lightning, and was run",
    "# with stand-ins for srun and scontrol on one machine only. Read it before sbatch.",
    "# The run's directory and the data must be seen by all nodes under the same path.",
    "",
)
