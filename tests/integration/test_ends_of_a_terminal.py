"""What a terminal does to a command: it is closed, its Ctrl-C ends a loop, a pipe's reader goes."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

pytestmark = pytest.mark.skipif(os.name != "posix", reason="terminals and signals of POSIX")
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def test_closing_the_terminal_saves_the_run_and_leaves_no_process(tmp_path):
    """The bar that is drawn on the closed terminal, and the loader process, must not end it."""
    import pty

    words = ["train", "digits-xception", "--output", "run", "--data.num_workers", "1"]
    words += ["--model.width", "0.125", "--trainer.accelerator", "cpu"]
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(tmp_path)
        os.execvpe(sys.executable, [sys.executable, "-m", "xception", *words], ENVIRONMENT)
    shown = b""
    while b"loss" not in shown:  # the bar after the first steps
        shown += os.read(terminal, 65536)
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP, shown
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] >= 1
    until = time.monotonic() + 30
    while _has_group(process):  # pty.fork made a session, and so a group, of its own
        assert time.monotonic() < until, "a process was left behind"
        time.sleep(0.05)


def _has_group(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_ctrl_c_ends_a_shell_loop_around_the_command(tmp_path):
    script = f'for i in 1 2 3; do echo "turn $i"; "{sys.executable}" -m xception inspect -; done'
    # Standing still where the model would be read: a fifo that nobody writes into.
    os.mkfifo(tmp_path / "model.safetensors")
    script = script.replace(" -;", " model.safetensors;")
    loop = subprocess.Popen(
        ["bash", "-c", script],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert loop.stdout.readline() == "turn 1\n"
    time.sleep(1)
    os.killpg(loop.pid, signal.SIGINT)
    out, err = loop.communicate(timeout=60)
    assert (loop.returncode, out) == (-signal.SIGINT, "")
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [["--version"], ["recipes"], ["inspect", "xception"]])
def test_a_reader_that_has_gone_is_no_failure(words):
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        [sys.executable, "-m", "xception", *words],
        stdout=writes,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        timeout=120,
    )
    os.close(writes)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")  # noqa: PTH110
def test_output_into_a_full_device_is_told_in_one_sentence():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "xception", "recipes"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
            timeout=120,
        )
    assert done.returncode == 3
    assert done.stderr == ("xception: error: no space left on the device; free some and go on\n")
