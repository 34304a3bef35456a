"""The process group of a run that torchrun has started again.

From torch 2.14 on torchrun's agent keeps one store through all restarts, and a new group writes its
addresses under the names of the one before: a process that reads too early connects to one that is
dead ("connection refused"), and the restart fails. So a restarted run makes its group itself, under
names of its own; Lightning finds it and makes none.
"""

import atexit
import os
from datetime import timedelta

import torch.distributed as dist

TIMEOUT = timedelta(minutes=30)


def join_restarted_group(device: str) -> bool:
    """Makes the group where the processes were started again; says whether it did.

    Args:
        device: "cuda": connected by NCCL; else by gloo.
    """
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    if not attempt or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return False
    if not dist.is_available() or dist.is_initialized():
        return False
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(  # type: ignore[attr-defined]
        host, port, world_size, is_master=False, timeout=TIMEOUT
    )
    dist.init_process_group(
        "nccl" if device == "cuda" else "gloo",
        store=dist.PrefixStore(f"attempt-{attempt}", store),  # type: ignore[attr-defined]
        rank=rank,
        world_size=world_size,
    )
    atexit.register(_leave)
    return True


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
