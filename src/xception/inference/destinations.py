"""Whether a result may be written where the user wants it, asked before any work is done."""

import os
from pathlib import Path

from xception.errors import InputError


def require_writable(path: Path, *, overwrite: bool) -> None:
    """Says before any work is done that a result could not be stored there.

    Raises:
        InputError: The folder is missing or not writable, or the file exists and may not be
            replaced.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent}; create it, or write elsewhere")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"the folder {path.parent} is not writable; write elsewhere")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists; add --overwrite to replace it, or give another name")
