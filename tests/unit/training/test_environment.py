"""Whose commit a run records."""

import shutil
import subprocess
from pathlib import Path

from xception.training import environment


def test_an_installation_within_another_checkout_records_no_commit(tmp_path, monkeypatch):
    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    installed = tmp_path / ".venv" / "environment.py"
    installed.parent.mkdir()
    shutil.copy(environment.__file__, installed)
    (tmp_path / "theirs.py").touch()
    git("add", "theirs.py")
    git("commit", "-m", "theirs")
    monkeypatch.setattr(environment, "__file__", str(installed))
    assert environment.commit() is None
    git("add", "-f", str(installed))
    git("commit", "-m", "a checkout of the package itself")
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=tmp_path, text=True)
    assert head.startswith(environment.commit())
    assert len(environment.commit()) == 12
    installed.write_text(Path(installed).read_text() + "\n")
    assert environment.commit().endswith("-dirty")
