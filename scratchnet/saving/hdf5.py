"""HDF5 files of named arrays, as Keras writes weights, through h5py.

A file is read as a stranger's: only what Keras itself writes is taken, groups that hold plain
arrays in one piece, and everything about an array is looked at before any of it is read. Links,
virtual and external arrays, chunks and filters (which can load code from elsewhere) are refused by
name, and all arrays together are no larger than the file. h5py is imported when first needed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np

from scratchnet.engines import Array
from scratchnet.untrusted import ForeignBytesError, as_foreign, printable

DTYPES = ("float32", "float64", "int32", "int64", "uint32")
MAX_DEPTH = 16
MAX_OBJECTS = 100_000
MAX_RANK = 8


def write_hdf5(arrays: Mapping[str, Any], names: Mapping[str, str]) -> bytes:
    """A file that holds arrays by their paths; `names` become the attribute `name` of groups.

    >>> import io
    >>> with io.BytesIO(write_hdf5({"a/0": np.arange(2.0)}, {"a": "mine"})) as file:
    ...     read_hdf5(file, len(file.getvalue()))["a/0"].tolist()
    [0.0, 1.0]
    """
    import h5py
    from h5py import h5a, h5d, h5f, h5g, h5p, h5s, h5t

    access, links = h5p.create(h5p.FILE_ACCESS), h5p.create(h5p.LINK_CREATE)
    access.set_fapl_core(2**20, backing_store=False)  # in memory, a megabyte at a time
    # The oldest format that holds it is the one that every version of HDF5 reads.
    access.set_libver_bounds(h5f.LIBVER_EARLIEST, h5f.LIBVER_LATEST)
    links.set_create_intermediate_group(True)
    # The calls below h5py's objects, which take three times as long.
    root = h5f.create(b"weights", h5f.ACC_TRUNC, fapl=access)
    texts, one = h5py.string_dtype(), h5s.create(h5s.SCALAR)
    kept, held = h5t.py_create(texts, logical=True), h5t.py_create(texts)
    for path, name in names.items():
        group = h5g.create(root, path.encode(), lcpl=links)
        told = np.array(printable(name), texts)  # HDF5's text has no NUL
        h5a.create(group, b"name", kept, one).write(told, mtype=held)
    for path, given in arrays.items():
        array = np.asarray(given, order="C")
        kind, space = h5t.py_create(array.dtype), h5s.create_simple(array.shape)
        h5d.create(root, path.encode(), kind, space, lcpl=links).write(h5s.ALL, h5s.ALL, array)
    h5f.flush(root)
    content: bytes = root.get_file_image()
    root.close()
    return content


def read_hdf5(file: IO[bytes], size: int) -> dict[str, Array]:
    """The arrays of a file of `size` bytes, by their paths.

    Raises:
        ForeignBytesError: for a file that is damaged, or holds anything but plain arrays.
    """
    import h5py

    with as_foreign(), h5py.File(_sound(file, size), "r") as root:
        left, arrays = size, {}
        for path, dataset in _datasets(h5py, root):
            shape, dtype = _plain(h5py, dataset, path)
            needed = math.prod(shape) * dtype.itemsize
            if needed > left:
                raise ForeignBytesError(
                    f"{path} announces {needed:,} bytes: the file has {left:,} for it at most"
                )
            left -= needed
            _check_place(h5py, dataset, path, needed, size)
            arrays[path] = np.asarray(dataset[()], dtype).reshape(shape)
    return arrays


HEAPS = re.compile(rb"(?:HEAP\x00|GCOL\x01)\x00{3}(.{8})", re.DOTALL)
"""A heap of names or of texts, and the number of bytes that it has."""


def _sound(file: IO[bytes], size: int) -> IO[bytes]:
    """The file, unless a heap in it is larger: HDF5 would ask for that memory before it looks."""
    for match in HEAPS.finditer(file.read()):
        needed = int.from_bytes(match[1], "little")
        if needed > size:
            raise ForeignBytesError(f"a heap in it announces {needed:,} bytes: it has {size:,}")
    file.seek(0)
    return file


def _datasets(h5py: Any, root: Any) -> Iterator[tuple[str, Any]]:
    """Every array below a group, however deep, each once."""
    groups, seen = [("", root)], {h5py.h5o.get_info(root.id).addr}
    while groups:
        prefix, group = groups.pop()
        for name in group:
            path = printable(f"{prefix}{name}")
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                kind = "an external link" if isinstance(link, h5py.ExternalLink) else "a soft link"
                raise ForeignBytesError(f"{path} is {kind}: expected the thing itself")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise ForeignBytesError(f"{path} is in it under another name too")
            seen.add(address)
            if len(seen) > MAX_OBJECTS or prefix.count("/") >= MAX_DEPTH:
                raise ForeignBytesError(f"{path}: more, or deeper nested, than any model has")
            if isinstance(item, h5py.Dataset):
                yield path, item
            elif isinstance(item, h5py.Group):
                groups.append((f"{prefix}{name}/", item))
            else:
                raise ForeignBytesError(f"{path} is neither a group nor an array")


def _plain(h5py: Any, dataset: Any, path: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of an array in one piece; what else HDF5 has is refused by name."""
    plist = dataset.id.get_create_plist()
    layout = plist.get_layout()
    if layout == h5py.h5d.VIRTUAL:
        raise ForeignBytesError(f"{path} is virtual: its data lie in other arrays")
    if plist.get_external_count():
        raise ForeignBytesError(f"{path} is external: its data lie in another file")
    if plist.get_nfilters():
        raise ForeignBytesError(f"{path} is compressed or filtered: expected plain numbers")
    if layout not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT):
        raise ForeignBytesError(f"{path} is in chunks: expected one piece")
    kind = dataset.id.get_type().get_class()
    if kind not in (h5py.h5t.FLOAT, h5py.h5t.INTEGER):
        raise ForeignBytesError(f"{path} holds no numbers: expected {' or '.join(DTYPES)}")
    dtype = dataset.dtype
    if dtype.name not in DTYPES or not dtype.isnative:
        raise ForeignBytesError(f"{path} holds {dtype}: expected {' or '.join(DTYPES)}")
    space = dataset.id.get_space()
    if space.get_simple_extent_type() == h5py.h5s.NULL:
        raise ForeignBytesError(f"{path} is empty: expected numbers")
    shape = tuple(int(n) for n in space.get_simple_extent_dims())
    if len(shape) > MAX_RANK:
        raise ForeignBytesError(f"{path} has {len(shape)} axes")
    return shape, dtype


def _check_place(h5py: Any, dataset: Any, path: str, needed: int, size: int) -> None:
    """Refuse an array whose numbers were never written: HDF5 would make them up."""
    if not needed or dataset.id.get_create_plist().get_layout() == h5py.h5d.COMPACT:
        return
    start = dataset.id.get_offset()
    if start is None or start + needed > size or dataset.id.get_storage_size() != needed:
        raise ForeignBytesError(f"{path} announces {needed:,} bytes that are not in the file")
