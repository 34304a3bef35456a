"""What the processes of a run on Ray listen to, and what they tell a stranger."""

import os
import subprocess
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

import grpc
from ray_counting import begin, build

from xception.distributed.ray_cluster import connected

METHODS = {  # of each kind of process: what a call without arguments may ask
    "gcs_server": ["NodeInfoGcsService/GetAllNodeInfo"],
    "raylet": ["NodeManagerService/GetNodeStats", "ObjectManagerService/Pull"],
    "": ["CoreWorkerService/GetCoreWorkerStats"],
}


def answers(name, port, token):
    """What a process says to a call with this token, by method."""
    headers = [("authorization", f"Bearer {token}")] if token else []
    if "RuntimeEnv" in name:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/get_or_create_runtime_env", b"", dict(headers), method="POST"
        )
        try:
            return {urllib.request.urlopen(request, timeout=10).status}
        except urllib.error.HTTPError as error:
            return {error.code}
    found = set()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for method in METHODS.get(name, METHODS[""]):
            try:
                channel.unary_unary(f"/ray.rpc.{method}")(b"", timeout=10, metadata=headers)
                found.add("OK")
            except grpc.RpcError as error:
                found.add(error.code().name)
    return found - {"UNIMPLEMENTED"}  # raylet listens twice, with one service each


def ports(folder):
    """What listens while a run has its processes; what a stranger is told; where the token is."""
    run = begin(folder, epochs=1, workers=2)
    with connected(run, partial(build, folder)) as cluster:
        cluster.start()
        while len(cluster.places()) < 4:
            cluster.next_event()
        listening = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True).stdout
        commands = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
        session = Path(cluster._ray._private.worker._global_node.get_session_dir_path())
        token = os.environ["RAY_AUTH_TOKEN"]
        with_token = [
            str(path)
            for path in session.rglob("*")
            if path.is_file() and token.encode() in path.read_bytes()
        ]
        told = {}
        for line in listening.splitlines():
            place, name = line.split()[3], line.split('"')[1]
            port = place.rpartition(":")[2]
            told[f"{name} {place}"] = [
                sorted(map(str, answers(name, port, given))) for given in ("", "0" * 64, token)
            ]
        return {
            "told": told,
            "token in commands": token in commands,
            "token in files": with_token,
            "mode": oct(session.parents[1].stat().st_mode & 0o777),
        }
