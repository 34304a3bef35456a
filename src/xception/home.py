"""Where ``~`` leads in paths that no shell has seen: of recipes, of Python."""

import os
from pathlib import Path

from xception.errors import InputError


def expand_home(path: str | os.PathLike[str]) -> Path:
    """Replaces a leading ``~`` or ``~name`` by a user's home directory.

    Args:
        path: Any path. One that exists as it is written, such as an editor's ``~draft.csv``, stays
            so where there is no such user.

    Raises:
        InputError: There is no such user, or this process's has no home.

    Example:
        >>> expand_home("images/~cats").as_posix()
        'images/~cats'
    """
    if not os.fspath(path).startswith("~"):  # "./~b", which pathlib would make "~b"
        return Path(path)
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError:
        if path.exists():
            return path
        user = path.parts[0]
        whose = f"user '{user[1:]}' with a home directory" if user != "~" else "home directory"
        raise InputError(
            f"{path}: there is no {whose} here that {user} could mean; write the whole path"
        ) from None
