"""What a disk holds when the power fails: built from the system calls of a traced daemon.

Only what was synced is sure to be there: a file's bytes by fsync or fdatasync of the file, its name by fsync of the directory.
Of the rest any part may be: the first writes, the last of them cut at a sector, or any sectors of any of them.
"""

import os
import re
import shutil
from pathlib import Path

SECTOR = 512
CALLS = (
    "openat,write,writev,pwrite64,pwritev,fsync,fdatasync,ftruncate,truncate,fallocate,"
    "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,sendto,sendmsg"
)
# Shared memory of SQLite, which it makes anew; it is written through a mapping, and no trace shows that.
UNTRACED = "-shm"

CALL = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)(?:<([^>]*)>)?")
UNFINISHED = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>")
RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)")
STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
DESCRIPTOR = re.compile(r"(-?\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})*)>")


def traced(file):
    """The command that a daemon is started by, to have its calls in that file."""
    return ["strace", "-D", "-f", "-qq", "-y", "-xx", "-s", "10000000", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(file)]


class Call:
    """A call that succeeded. `entered` and `returned` are places in the trace: what happened before what."""

    def __init__(self, name, arguments, result, opened, entered, returned):
        self.name, self.result, self.entered, self.returned = name, result, entered, returned
        self.arguments = arguments
        found = [STRING.fullmatch(match.group(0)) for match in STRING.finditer(arguments)]
        assert not any(match.group(2) for match in found), "strace left a part of a string out"
        self.strings = [unhex(match.group(1)) for match in found]
        descriptor = DESCRIPTOR.match(arguments)
        self.descriptor, self.path = (descriptor.group(1), unhex(descriptor.group(2)).decode()) if descriptor else (None, "")
        self.opened = unhex(opened).decode() if opened else None

    def paths(self):
        """The paths that it names, whole."""
        directories = [unhex(match.group(2)).decode() for match in DESCRIPTOR.finditer(self.arguments)] or [os.getcwd()]
        directories += directories[-1:] * len(self.strings)
        return [os.path.normpath(os.path.join(base, text.decode())) for base, text in zip(directories, self.strings)]

    def number(self, at):
        """An argument that is a number, counted from the end."""
        return int(self.arguments.rsplit(", ")[at])


def unhex(text):
    return bytes.fromhex(text.replace("\\x", ""))


def calls(file):
    """The calls of a trace, in the order in which they returned."""
    begun, found = {}, []
    with open(file) as lines:
        for at, line in enumerate(lines):
            line = line.rstrip("\n")
            entered = at
            if match := UNFINISHED.fullmatch(line):
                begun[match.group(1)] = (at, f"{match.group(1)} {match.group(2)}({match.group(3)}")
                continue
            if match := RESUMED.fullmatch(line):
                entered, line = begun.pop(match.group(1))
                line += match.group(3)
            match = CALL.match(line)
            if match and int(match.group(4)) >= 0:
                found.append(Call(match.group(2), match.group(3), int(match.group(4)), match.group(5), entered, at))
    assert not begun or found, f"{file} has no call"
    return found


class File:
    """What is sure to be in a file, and what was done to it since."""

    def __init__(self, content=b"", synced=None):
        self.now = bytearray(content)
        self.synced = bytearray(content if synced is None else synced)
        self.pending = [] if synced is None else [(len(synced), bytes(content[len(synced) :]))]

    def write(self, offset, data):
        apply(self.now, (offset, data))
        self.pending.append((offset, data))

    def cut(self, length):
        apply(self.now, (length, None))
        self.pending.append((length, None))

    def sync(self):
        for change in self.pending:
            apply(self.synced, change)
        self.pending.clear()

    def survivor(self, chance, mode):
        """What is found after the power failed."""
        content = bytearray(self.synced)
        if mode == "first writes" and self.pending:
            whole = chance.randrange(len(self.pending) + 1)
            for change in self.pending[:whole]:
                apply(content, change)
            for offset, data in self.pending[whole : whole + 1]:
                if data is not None:
                    apply(content, (offset, data[: sector_cut(offset, chance.randrange(len(data) + 1))]))
        elif mode == "any sectors":
            odds = chance.random()
            for offset, data in self.pending:
                for change in [(offset, data)] if data is None else sectors(offset, data):
                    if chance.random() < odds:
                        apply(content, change)
        return content


def apply(content, change):
    offset, data = change
    if data is None:
        if offset < len(content):
            del content[offset:]
        else:
            content.extend(bytes(offset - len(content)))
        return
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def sectors(offset, data):
    at = 0
    while at < len(data):
        end = at + SECTOR - (offset + at) % SECTOR
        yield offset + at, data[at:end]
        at = end


def sector_cut(offset, length):
    """The longest length up to that one that ends with a sector."""
    return max(0, (offset + length) // SECTOR * SECTOR - offset)


class Directory:
    """Names that are sure to be there, and what was done to them since."""

    def __init__(self):
        self.now, self.synced, self.pending = {}, {}, []

    def set(self, name, node):
        self.now[name] = node
        self.pending.append((name, node))

    def remove(self, name):
        del self.now[name]
        self.pending.append((name, None))

    def sync(self):
        self.synced = self.entries(len(self.pending))
        self.pending.clear()

    def entries(self, changes):
        """With so many of the changes that were not synced."""
        entries = dict(self.synced)
        for name, node in self.pending[:changes]:
            entries.pop(name, None)
            if node is not None:
                entries[name] = node
        return entries

    def build(self, path, chance, mode):
        """Makes what survives, there."""
        path.mkdir(exist_ok=True)
        changes = 0 if mode == "synced alone" else chance.randrange(len(self.pending) + 1)
        for name, node in self.entries(changes).items():
            if isinstance(node, Directory):
                node.build(path / name, chance, mode)
            else:
                (path / name).write_bytes(node.survivor(chance, mode))


class Disk:
    """The file system below one directory, as the calls change it."""

    MODES = ["synced alone", "first writes", "any sectors"]

    def __init__(self, root, unsynced=lambda path: None):
        """What is there already is synced, but for what `unsynced` names: of such a file only so many bytes are."""
        self.root, self.open = str(root), {}
        self.tree = self._read(Path(root), unsynced)

    def _read(self, path, unsynced):
        directory = Directory()
        for entry in path.iterdir():
            if entry.is_dir():
                node = self._read(entry, unsynced)
            else:
                content, synced = entry.read_bytes(), unsynced(entry)
                node = File(content, None if synced is None else content[:synced])
            directory.now[entry.name] = directory.synced[entry.name] = node
        return directory

    def apply(self, call):
        """Takes a call in."""
        name = call.name
        if name == "openat":
            self._openat(call)
        elif name in ("write", "writev") and call.descriptor in self.open and self._is_below(call.path):
            file, offset, appends = self.open[call.descriptor]
            offset = len(file.now) if appends else offset
            file.write(offset, b"".join(call.strings)[: call.result])
            self.open[call.descriptor] = (file, offset + call.result, appends)
        elif name == "pwrite64" and self._is_below(call.path):
            self.open[call.descriptor][0].write(call.number(-1), call.strings[0][: call.result])
        elif name == "ftruncate" and self._is_below(call.path):
            self.open[call.descriptor][0].cut(call.number(-1))
        elif name in ("fsync", "fdatasync") and self._is_below(call.path):
            node = self._find(call.path) if call.descriptor not in self.open else self.open[call.descriptor][0]
            node.sync()
        elif name not in ("write", "writev", "sendto", "sendmsg", "pwrite64", "ftruncate", "fsync", "fdatasync"):
            self._names(name, [path for path in call.paths() if self._is_below(path)])

    def _openat(self, call):
        path = call.opened
        self.open.pop(str(call.result), None)
        if not self._is_below(path) or path == self.root:
            return
        parent, name = self._parent(path)
        if name not in parent.now:
            parent.set(name, File())
        node = parent.now[name]
        if isinstance(node, File):
            if "O_TRUNC" in call.arguments and node.now:
                node.cut(0)
            self.open[str(call.result)] = (node, 0, "O_APPEND" in call.arguments)

    def _names(self, name, paths):
        if not paths or paths[0].endswith(UNTRACED):
            return
        parent, last = self._parent(paths[0])
        if name in ("mkdir", "mkdirat"):
            parent.set(last, Directory())
        elif name in ("unlink", "unlinkat", "rmdir"):
            parent.remove(last)
        elif name.startswith("rename"):
            node = parent.now[last]
            to, to_name = self._parent(paths[1])
            assert to is parent, "a move to another directory is two changes, and none was expected"
            to.set(to_name, node)
            parent.remove(last)
        else:
            raise AssertionError(f"{name} of {paths} is not understood")

    def _is_below(self, path):
        return path is not None and (path == self.root or path.startswith(self.root + "/")) and not path.endswith(UNTRACED)

    def _parent(self, path):
        return self._find(os.path.dirname(path)), os.path.basename(path)

    def _find(self, path):
        node = self.tree
        for name in Path(path).relative_to(self.root).parts:
            node = node.now[name]
        return node

    def image(self, path, chance):
        """Builds what the disk may hold if the power fails now; says what was taken from it."""
        shutil.rmtree(path, ignore_errors=True)
        mode = chance.choice(Disk.MODES)
        self.tree.build(path, chance, mode)
        return mode

    def assert_is(self, path):
        """That the calls account for what is there: nothing was written in a way that is not seen."""
        self._assert_is(self.tree, Path(path))

    def _assert_is(self, directory, path):
        assert sorted(directory.now) == sorted(entry.name for entry in path.iterdir() if not entry.name.endswith(UNTRACED)), path
        for name, node in directory.now.items():
            if isinstance(node, Directory):
                self._assert_is(node, path / name)
            else:
                assert bytes(node.now) == (path / name).read_bytes(), path / name
