"""LMDB databases, read without liblmdb, which a damaged file can crash: every offset is checked against the mapping.

The format (of OpenLDAP's lmdb 0.9, data version 1): pages of one size; pages 0 and 1 are meta pages, of which the one
with the larger transaction number counts. A B+tree of branch and leaf pages has the entries in the order of their keys;
values that do not fit lie in overflow pages. Only the main database is read, without named databases or duplicate keys,
which LSUN does not have.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import os_error
from training.data.archives import LARGEST

_PAGE = struct.Struct("<QHHHH")  # page number, padding, flags, lower and upper end of the free space
_META = struct.Struct("<IIQQ")  # magic, version, address, size of the map
_TREE = struct.Struct("<IHHQQQQQ")  # padding (page size), flags, depth, branch, leaf, overflow pages, entries, root
_NODE = struct.Struct(
    "<HHHH"
)  # size of the value (low, high), flags, size of the key; a branch has a page number there
_BRANCH, _LEAF, _OVERFLOW, _LEAF2 = 1, 2, 4, 0x20
_BIG, _SUB, _DUP = 1, 2, 4  # flags of a leaf's node; the last one also of a tree
_MAGIC, _EMPTY = 0xBEEFC0DE, 2**64 - 1


class LMDBFile:
    """The entries of a data.mdb in the order of their keys. UserError if it is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._bytes = np.memmap(path, np.uint8, "r")
        except ValueError as e:
            raise UserError(f"{path}: empty file, expected an LMDB") from e
        except OSError as e:
            raise os_error(e, path, "read") from e
        self._page_size = 4096
        metas = [m for m in (self._meta(0),) if m]
        if metas:
            self._page_size = metas[0][1][0] or 4096  # the tree of free pages has it as padding
            if not 256 <= self._page_size <= 65536 or self._page_size & (self._page_size - 1):
                raise UserError(f"{path}: damaged LMDB: pages of {self._page_size} bytes")
            metas += [m for m in (self._meta(1),) if m]
        if not metas:
            raise UserError(f"{path}: not a readable LMDB: no meta page of version 1")
        _, _, main = max(metas, key=lambda m: m[0])
        self._entries, self._root = main[6], main[7]
        if main[1] & _DUP:
            raise UserError(f"{path}: an LMDB with duplicate keys, expected one value a key")
        if self._entries > len(self._bytes) // _NODE.size:
            raise UserError(f"{path}: damaged LMDB: {self._entries} entries in {len(self._bytes)} bytes")

    def _meta(self, page: int) -> tuple[int, tuple[int, ...], tuple[int, ...]] | None:
        """Transaction number, tree of free pages, main tree."""
        at = page * self._page_size + 16
        raw = self._bytes[at : at + _META.size + 2 * _TREE.size + 16].tobytes()
        if len(raw) < _META.size + 2 * _TREE.size + 16 or _META.unpack_from(raw)[:2] != (_MAGIC, 1):
            return None
        free, main = (_TREE.unpack_from(raw, _META.size + i * _TREE.size) for i in (0, 1))
        return struct.unpack_from("<Q", raw, _META.size + 2 * _TREE.size + 8)[0], free, main

    def __len__(self) -> int:
        return self._entries

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        count = 0
        for entry in self._walk():
            yield entry
            count += 1
        if count != self._entries:
            raise self._damaged(f"{count} entries, expected {self._entries}")

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self.path}: damaged LMDB: {what}")

    def _walk(self) -> Iterator[tuple[bytes, bytes]]:
        seen = np.zeros(len(self._bytes) // self._page_size + 1, bool)
        pages = [] if self._root == _EMPTY else [self._root]
        while pages:
            number = pages.pop()
            page = self._page(number)
            if seen[number]:
                raise self._damaged(f"page {number} is used twice")
            seen[number] = True
            _, _, flags, lower, _ = _PAGE.unpack_from(page)
            nodes = self._nodes(page, number, lower)
            if flags & _BRANCH:
                pages += [low | high << 16 | top << 32 for low, high, top, _, _ in reversed(nodes)]
            elif flags & _LEAF and not flags & _LEAF2:
                for low, high, kind, key_size, at in nodes:
                    end = at + _NODE.size + key_size
                    if end > len(page):
                        raise self._damaged(f"page {number}: a key of {key_size} bytes")
                    yield page[at + _NODE.size : end], self._value(page, number, end, low | high << 16, kind)
            else:
                raise self._damaged(f"page {number} has flags {flags:#x}")

    def _page(self, number: int) -> bytes:
        start = number * self._page_size
        if start + self._page_size > len(self._bytes):
            raise self._damaged(f"page {number} is beyond the end of the file")
        return self._bytes[start : start + self._page_size].tobytes()

    def _nodes(self, page: bytes, number: int, lower: int) -> list[tuple[int, int, int, int, int]]:
        """Fields and position of each node of a page."""
        if not _PAGE.size <= lower <= len(page):
            raise self._damaged(f"page {number}: {lower} bytes of pointers")
        positions = struct.unpack_from(f"<{(lower - _PAGE.size) // 2}H", page, _PAGE.size)
        if positions and max(positions) + _NODE.size > len(page):
            raise self._damaged(f"page {number}: a node beyond its end")
        return [(*_NODE.unpack_from(page, at), at) for at in positions]

    def _value(self, page: bytes, number: int, at: int, size: int, kind: int) -> bytes:
        if kind & (_SUB | _DUP):
            raise UserError(f"{self.path}: an LMDB with named databases or duplicate keys, expected one of images")
        if not kind & _BIG:
            if at + size > len(page):
                raise self._damaged(f"page {number}: a value of {size} bytes")
            return page[at : at + size]
        if at + 8 > len(page):
            raise self._damaged(f"page {number}: a value without its page")
        (overflow,) = struct.unpack_from("<Q", page, at)
        flags = _PAGE.unpack_from(self._page(overflow))[2]
        start = overflow * self._page_size + _PAGE.size
        if not flags & _OVERFLOW or start + size > len(self._bytes) or size > LARGEST:
            raise self._damaged(f"page {number}: a value of {size} bytes in page {overflow}")
        return self._bytes[start : start + size].tobytes()
