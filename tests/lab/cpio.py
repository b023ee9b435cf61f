"""Writes the archives that a Linux kernel unpacks at boot, in cpio's "newc" format."""

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

ALIGNMENT = 4


@dataclass(frozen=True)
class File:
    """A file of root's, or with the type in its mode something else."""

    content: bytes
    mode: int = 0o644

    @classmethod
    def of(cls, text: str, mode: int = 0o644) -> "File":
        """A file of that text."""
        return cls(text.encode(), mode)

    @classmethod
    def link(cls, target: str) -> "File":
        """A symbolic link to a path."""
        return cls(target.encode(), stat.S_IFLNK | 0o777)


def archive(files: Mapping[str, File]) -> bytes:
    """An archive of files, by path without a leading slash, and of the folders they lie in."""
    folders = {
        str(folder)
        for path in files
        for folder in PurePosixPath(path).parents
        if str(folder) != "."
    }
    members = [_member(folder, stat.S_IFDIR | 0o755, b"") for folder in sorted(folders)]
    members += [
        _member(
            path, file.mode if stat.S_IFMT(file.mode) else stat.S_IFREG | file.mode, file.content
        )
        for path, file in files.items()
    ]
    return b"".join(members) + _member("TRAILER!!!", 0, b"")


def _member(path: str, mode: int, content: bytes) -> bytes:
    name = path.encode() + b"\0"
    header = b"070701" + b"".join(b"%08X" % field for field in _fields(mode, content, name))
    return _padded(header + name) + _padded(content)


def _fields(mode: int, content: bytes, name: bytes) -> Iterator[int]:
    """The thirteen numbers of a header; inode 0 and one link make every file one of its own."""
    inode = user = group = time = device = checksum = 0
    yield from (inode, mode, user, group, 1, time, len(content))
    yield from (device, device, device, device, len(name), checksum)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % ALIGNMENT)
