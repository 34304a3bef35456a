"""Label tables in Parquet, whole columns at a time: no Python object for each label."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xception.data.encoded_images import (
    EncodedImages,
    ImageFiles,
    ParquetImages,
    damaged_parquet,
    open_parquet,
)
from xception.data.label_checks import OPTIONAL, REQUIRED, ClassIds, require_columns, require_once
from xception.data.targets import Ragged
from xception.errors import InputError

Columns = tuple[EncodedImages, Ragged, np.ndarray | None, Ragged | None]


def read_parquet_table(path: Path, class_names: Sequence[str]) -> Columns:
    """The images, the class ids present, their weights, the class ids absent.

    Raises:
        InputError: A column is missing, of the wrong type or has empty cells, or holds a name that
            is not in the class list.
    """
    file = open_parquet(path)
    import pyarrow as arrow

    names = list(file.schema_arrow.names)
    require_columns(path, names)
    wanted = [name for name in (*REQUIRED, *OPTIONAL) if name in names]
    kind = file.schema_arrow.field("image").type
    in_file = arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind)
    in_file = in_file or arrow.types.is_struct(kind)
    if not in_file and not (arrow.types.is_string(kind) or arrow.types.is_large_string(kind)):
        raise InputError(f"{path}: the column 'image' is {kind}; it must hold paths or bytes")
    columns = [name for name in wanted if name != "image" or not in_file]
    try:
        table = file.read(columns=columns)
        table.validate(full=True)
    except Exception as error:  # a damaged file makes pyarrow raise almost anything
        raise damaged_parquet(path, error) from None
    for name in table.column_names:
        if table[name].null_count:
            raise InputError(f"{path}: the column '{name}' has an empty cell; fill or remove it")
    if in_file:
        images: EncodedImages = ParquetImages(path, "image")
    else:
        paths = table["image"].to_pylist()
        require_once(paths, path)
        images = ImageFiles(path.parent, paths)
    present = _class_ids(path, "labels", table["labels"], class_names)
    absent = None
    if "absent" in wanted:
        absent = _class_ids(path, "absent", table["absent"], class_names)
    weights = None
    if "weights" in wanted:
        found = _lists(path, "weights", table["weights"])
        differ = np.flatnonzero(np.diff(found[0]) != np.diff(present.offsets))
        if len(differ):
            row = int(differ[0])
            raise InputError(
                f"{path} row {row}: there are {np.diff(found[0])[row]} weights for "
                f"{np.diff(present.offsets)[row]} labels; give one for each"
            )
        weights = found[1].to_numpy(zero_copy_only=False).astype(np.float32)
    return images, present, weights, absent


def _lists(path: Path, name: str, column: Any) -> tuple[np.ndarray, Any]:
    """Offsets from 0, and the flat values as an Arrow array."""
    import pyarrow as arrow

    whole = column.combine_chunks()
    if isinstance(whole, arrow.ChunkedArray):
        whole = arrow.concat_arrays(whole.chunks) if whole.num_chunks else whole.chunk(0)
    if not (arrow.types.is_list(whole.type) or arrow.types.is_large_list(whole.type)):
        raise InputError(f"{path}: the column '{name}' is {whole.type}; it must hold lists")
    offsets = np.asarray(whole.offsets).astype(np.int64)
    values = whole.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    return offsets - offsets[0], values


def _class_ids(path: Path, name: str, column: Any, class_names: Sequence[str]) -> Ragged:
    import pyarrow as arrow
    from pyarrow import compute

    offsets, values = _lists(path, name, column)
    if values.null_count:
        raise InputError(f"{path}: a list of '{name}' has an empty entry; fill or remove it")
    if arrow.types.is_integer(values.type):
        return Ragged(offsets, values.to_numpy(zero_copy_only=False).astype(np.int64))
    if arrow.types.is_null(values.type):
        return Ragged(offsets, np.zeros(0, np.int64))
    if not (arrow.types.is_string(values.type) or arrow.types.is_large_string(values.type)):
        raise InputError(
            f"{path}: the lists of '{name}' hold {values.type}; they must hold names or integers"
        )
    found = compute.index_in(values, value_set=arrow.array(list(class_names), values.type))
    if found.null_count:
        at = int(np.flatnonzero(np.asarray(found.is_null()))[0])
        row = int(np.searchsorted(offsets, at, side="right")) - 1
        raise ClassIds(class_names).unknown(str(values[at].as_py()), f"{path} row {row}")
    return Ragged(offsets, found.to_numpy(zero_copy_only=False).astype(np.int64))
