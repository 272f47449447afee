"""Damage to files: blind, and where a format is known, behind its checksums.

Every function takes bytes and a Generator and gives other bytes; the same Generator state gives the
same damage.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

Rng = np.random.Generator
Mutation = Callable[[bytes, Rng], bytes]

NUMBERS = (0, 1, 2, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, -1)


def pick(rng: Rng, things: Any) -> Any:
    return things[int(rng.integers(len(things)))]


def blind(data: bytes, rng: Rng) -> bytes:
    """One to four small changes anywhere; one in three in the first kilobyte, where headers are."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        if not changed:
            return bytes(rng.bytes(int(rng.integers(1, 64))))
        near = 1024 if rng.random() < 1 / 3 else len(changed)
        at = int(rng.integers(min(len(changed), near)))
        kind = int(rng.integers(8))
        if kind == 0:
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            changed[at] = int(rng.integers(256))
        elif kind == 2:
            del changed[at:]
        elif kind == 3:
            del changed[at : at + int(rng.integers(1, 64))]
        elif kind == 4:
            changed[at:at] = rng.bytes(int(rng.integers(1, 64)))
        elif kind == 5:
            other = int(rng.integers(len(changed)))
            changed[at:at] = changed[other : other + int(rng.integers(1, 256))]
        else:
            width, order = int(pick(rng, (1, 2, 4, 8))), str(pick(rng, ("little", "big")))
            number = int(pick(rng, NUMBERS)) % (1 << 8 * width)
            changed[at : at + width] = number.to_bytes(width, order)  # type: ignore[arg-type]
    return bytes(changed)


FLOATS = [(f"<{kind}", value) for kind in "fd" for value in (np.nan, np.inf, -1e38, 0.0, 1e-300)]
"""A kind of number and a value, as struct packs them."""

NAMES = ("../x", "/x", "a\\b", "C:x", "x" * 999, "\x1b[2J", "")
"""Names that no member of an archive should have."""


# --- formats --------------------------------------------------------------------------------------

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.5, -0.0, 1e308, 2**31, 2**63, 10**40),
    *("", "x", "relu", "Dense", "keras.layers", "\x1b[2J", "a\nb: forged", "\u202e", "../x"),
    *([], {}, [[]], [None], {"class_name": "Dense", "config": {}}, [1, [2, [3]]]),
    *("__lambda__", "function", "os", "float16", "nan"),
)


def json_text(data: bytes, rng: Rng) -> bytes:
    """Another value, key or order somewhere in JSON; blind damage where it is none."""
    try:
        tree = json.loads(data)
    except ValueError:
        return blind(data, rng)
    places: list[tuple[Any, Any]] = []
    pending = [tree]
    while pending:
        node = pending.pop()
        keys = node.keys() if isinstance(node, dict) else range(len(node))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], dict | list):
                pending.append(node[key])
    for _ in range(int(rng.integers(1, 4))):
        if not places:
            return blind(data, rng)
        node, key = pick(rng, places)
        kind = int(rng.integers(6))
        try:
            if kind == 0:
                del node[key]
            elif kind == 1 and isinstance(node, dict):
                node[pick(rng, ("", "name", "units", "class_name", "config"))] = node.pop(key)
            elif kind == 2 and isinstance(node, list):
                node.append(node[key])
            elif kind == 3:
                other, at = pick(rng, places)
                node[key] = json.loads(json.dumps(other[at]))
            else:
                node[key] = pick(rng, VALUES)
        except (LookupError, ValueError):  # gone with an earlier change
            continue
    try:
        return json.dumps(tree).encode(errors="surrogatepass")
    except (ValueError, RecursionError):
        return blind(data, rng)


def npy(data: bytes, rng: Rng) -> bytes:
    """Another header before the same numbers, JSON changed within, or blind damage."""
    if data[:6] != b"\x93NUMPY" or rng.random() < 0.3:
        return blind(data, rng)
    end = 10 + int.from_bytes(data[8:10], "little")
    head, body = data[10:end].decode("latin-1").rstrip(), data[end:]
    if body[:1] == b"{" and rng.random() < 0.8:
        body = json_text(body, rng)
        head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({len(body)},), }}"
    elif len(body) >= 8 and rng.random() < 0.5:
        number = struct.pack(*pick(rng, FLOATS))
        at = len(number) * int(rng.integers(len(body) // len(number)))
        body = body[:at] + number + body[at + len(number) :]
    else:
        pairs = (
            ("False", "True"),
            ("<f4", str(pick(rng, ("<f8", ">f4", "|O", "<f2", "<c8", "<i4", "|V9", "<M8")))),
            ("(", "(" * int(rng.integers(1, 400))),
            (")", ""),
            (",", str(pick(rng, ("", ",,", ", -1,", f", {2**40},", ", 10**9,", ", None,")))),
            ("'shape'", str(pick(rng, ("'descr'", "'x'", "b'shape'")))),
            ("}", str(pick(rng, ("", "}}", "} #", "}\n\x00", "} if 1 else 0")))),
        )
        old, new = pick(rng, pairs)
        head = head.replace(old, new, int(rng.integers(1, 3)))
    text = head.encode("latin-1") + b" " * (-(len(head) + 11) % 64) + b"\n"
    return data[:8] + struct.pack("<H", len(text) % 65536) + text + body


def zip_archive(inner: dict[str, Mutation]) -> Mutation:
    """Damage behind the checksums of an archive, to its list of members, or blind.

    `inner` maps endings of members' names to what may happen to them.
    """

    def mutate(data: bytes, rng: Rng) -> bytes:
        if rng.random() < 0.3:
            return blind(data, rng)
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = [(info.filename, archive.read(info)) for info in archive.infolist()]
        except Exception:  # damaged by an earlier mutation
            return blind(data, rng)
        kind = int(rng.integers(8))
        at = int(rng.integers(len(members)))
        # The one that says what the others are, as often as all others.
        told = [i for i, (name, _) in enumerate(members) if name.startswith("config.")]
        at = told[0] if told and rng.random() < 0.5 else at
        name, content = members[at]
        if kind <= 4:
            change = next((m for end, m in inner.items() if name.endswith(end)), blind)
            members[at] = (name, change(content, rng))
        elif kind == 5:
            members[at] = (
                str(pick(rng, ("../x", "/x", "a\\b", "C:x", "x" * 999, "\x1b"))),
                content,
            )
        elif kind == 6:
            members.append(members[at])
        else:
            del members[at]
        method = zipfile.ZIP_DEFLATED if rng.random() < 0.1 else zipfile.ZIP_STORED
        buffer = io.BytesIO()
        with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
            warnings.simplefilter("ignore")  # a name twice is meant
            for name, content in members:
                entry = zipfile.ZipInfo("x")
                entry.filename, entry.compress_type = name, method
                archive.writestr(entry, content)
        return buffer.getvalue()

    return mutate


def gzipped(data: bytes, rng: Rng) -> bytes:
    """Damage within, packed again; or blind."""
    if data[:2] != b"\x1f\x8b" or rng.random() < 0.5:
        return blind(data, rng)
    try:
        return gzip.compress(blind(gzip.decompress(data), rng), 1, mtime=0)
    except Exception:
        return blind(data, rng)


def png(data: bytes, rng: Rng) -> bytes:
    """Damage to one chunk of a PNG, with its checksum made good; or blind."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or rng.random() < 0.3:
        return blind(data, rng)
    chunks, at = [], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    if not chunks:
        return blind(data, rng)
    i = int(rng.integers(len(chunks)))
    kind, content = chunks[i]
    chunks[i] = (kind, blind(content, rng) if rng.random() < 0.8 else content * 2)
    packed = (
        struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks
    )
    return data[:8] + b"".join(packed)
