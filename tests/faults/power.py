"""Power cuts, simulated: from a log of what a process asked of a disk to what the disk may hold afterwards.

Two models. Strict POSIX promises no more than fsync does: of a file that was not synced each 4 KiB page is
the old or the new one; of a folder that was not synced the changes (creations, renames, removals) are there
up to some point, and a subfolder whose own name was lost is lost with all that it holds. Under ext4 the
journal that an fsync commits also holds the file's own name, and whatever happened in its folder before.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

CREATE, WRITE, TRUNCATE, FSYNC, RENAME, LINK, UNLINK, MKDIR, RMDIR, CLOSE, NOTE = range(1, 12)
PAGE = 4096
_HEAD = struct.Struct("6q")
_EXCHANGE = 2


@dataclass(frozen=True)
class Call:
    """One call of the log; `inode` tells files apart, `path` is relative to the folder under fault."""

    kind: int
    path: str
    other: str
    inode: int
    offset: int
    data: bytes


def read_log(log: Path, root: Path) -> list[Call]:
    """The calls in order, as the shim wrote them."""
    data, place, calls = log.read_bytes(), 0, []

    def take(size: int) -> bytes:
        nonlocal place
        place += size
        return data[place - size : place]

    def relative(path: bytes) -> str:
        return path.decode().removeprefix(str(root)).lstrip("/")

    while place < len(data):
        kind, n_path, n_other, inode, offset, n_data = _HEAD.unpack(take(_HEAD.size))
        path, other = relative(take(n_path)), relative(take(n_other))
        calls.append(Call(kind, path, other, inode, offset, take(n_data)))
    return calls


def notes_of(calls: list[Call]) -> dict[str, Any]:
    """What jobs had told by then: which rows are committed, whether the file is saved, how many are done."""
    told = [json.loads(call.data) for call in calls if call.kind == NOTE]
    committed = [address for line in told for address in line.get("committed", [])]
    n_done = sum("result" in line for line in told)
    return {"committed": committed, "saved": any("saved" in line for line in told), "n_done": n_done}


@dataclass(eq=False)
class File:
    """What was written, and what of it is known to be on the disk."""

    live: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    dirty: set[int] = field(default_factory=set)

    def write(self, offset: int, data: bytes) -> None:
        self.resize(max(len(self.live), offset + len(data)))
        self.live[offset : offset + len(data)] = data
        self.dirty |= set(range(offset // PAGE, -(-(offset + len(data)) // PAGE)))

    def resize(self, size: int) -> None:
        shorter, longer = sorted((size, len(self.live)))
        if longer > shorter:
            self.dirty |= set(range(shorter // PAGE, -(-longer // PAGE)))
        del self.live[size:]
        self.live.extend(bytes(size - len(self.live)))

    def sync(self) -> None:
        self.durable, self.dirty = bytes(self.live), set()

    def after_a_cut(self, rng: Random) -> bytes:
        if not self.dirty:
            return self.durable
        size = rng.choice((len(self.durable), len(self.live)))
        pages = bytearray(self.durable.ljust(max(size, len(self.live)), b"\0"))
        for page in sorted(self.dirty):
            if rng.random() < 0.5:
                new = bytes(self.live[page * PAGE : (page + 1) * PAGE])
                pages[page * PAGE : page * PAGE + len(new)] = new
        return bytes(pages[:size])


@dataclass(eq=False)
class Folder:
    """Its names now, those known to be on the disk, and the changes between, in order."""

    live: dict[str, File | Folder] = field(default_factory=dict)
    durable: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[dict[str, File | Folder | None]] = field(default_factory=list)

    def change(self, names: dict[str, File | Folder | None]) -> None:
        _apply(self.live, names)
        self.pending.append(names)

    def sync(self, n_changes: int | None = None) -> None:
        n_changes = len(self.pending) if n_changes is None else n_changes
        for names in self.pending[:n_changes]:
            _apply(self.durable, names)
        del self.pending[:n_changes]

    def sync_name_of(self, node: File | Folder) -> None:
        places = [place for place, names in enumerate(self.pending) if node in names.values()]
        self.sync(places[-1] + 1 if places else 0)

    def after_a_cut(self, rng: Random) -> dict[str, File | Folder]:
        names = dict(self.durable)
        for change in self.pending[: rng.randint(0, len(self.pending))]:
            _apply(names, change)
        return names


def _apply(names: dict, change: dict) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


class Disk:
    """A folder as a log of calls makes it; the power may be cut after any of them."""

    def __init__(self, *, is_ext4: bool) -> None:
        self.root = Folder()
        self.is_ext4 = is_ext4
        self._files: dict[int, File] = {}

    def apply(self, call: Call) -> None:
        """One call more."""
        if call.kind == CREATE:
            self._files[call.inode] = File()
            if call.path:
                self._folder_of(call.path).change({_name(call.path): self._files[call.inode]})
        elif call.kind == WRITE:
            self._files[call.inode].write(call.offset, call.data)
        elif call.kind == TRUNCATE:
            self._files[call.inode].resize(call.offset)
        elif call.kind == FSYNC:
            self._sync(call)
        elif call.kind == MKDIR:
            self._folder_of(call.path).change({_name(call.path): Folder()})
        elif call.kind in (UNLINK, RMDIR):
            self._folder_of(call.path).change({_name(call.path): None})
        elif call.kind == LINK:
            self._folder_of(call.other).change({_name(call.other): self._node(call.path)})
        elif call.kind == RENAME:
            self._rename(call)

    def _rename(self, call: Call) -> None:
        old, new = self._folder_of(call.path), self._folder_of(call.other)
        node = self._node(call.path)
        left = self._node(call.other) if call.offset == _EXCHANGE else None
        if old is new:
            # In one folder it is one change: both names or neither.
            old.change({_name(call.path): left, _name(call.other): node})
        else:
            new.change({_name(call.other): node})
            old.change({_name(call.path): left})

    def _sync(self, call: Call) -> None:
        file = self._files.get(call.inode)
        if file is None:
            self._node(call.path).sync()
            return
        file.sync()
        if self.is_ext4 and call.path:
            *above, _ = call.path.split("/")
            folder, node = self.root, file
            for name in above:
                inner = folder.live[name]
                folder.sync_name_of(inner)
                folder = inner
            folder.sync_name_of(node)

    def _node(self, path: str) -> File | Folder:
        node: File | Folder = self.root
        for name in filter(None, path.split("/")):
            node = node.live[name]
        return node

    def _folder_of(self, path: str) -> Folder:
        return self._node(path.rpartition("/")[0])

    def after_a_cut(self, rng: Random) -> dict[str, bytes | None]:
        """What is found when the power is back: content by path, None for a folder."""
        return dict(_walked(self.root, "", rng))

    def without_a_cut(self) -> dict[str, bytes | None]:
        """What every process sees now."""
        return dict(_walked(self.root, "", None))


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _walked(folder: Folder, above: str, rng: Random | None) -> Iterator[tuple[str, bytes | None]]:
    names = folder.live if rng is None else folder.after_a_cut(rng)
    for name, node in names.items():
        if isinstance(node, Folder):
            yield f"{above}{name}", None
            yield from _walked(node, f"{above}{name}/", rng)
        else:
            yield f"{above}{name}", bytes(node.live) if rng is None else node.after_a_cut(rng)


def build(tree: dict[str, bytes | None], root: Path) -> None:
    """Put on a real disk what is left."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for path, content in tree.items():
        if content is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(content)


def tree_of(root: Path) -> dict[str, bytes | None]:
    """What is on a real disk."""
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes() for path in root.rglob("*")
    }
