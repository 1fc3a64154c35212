"""The filter of system calls of the service's unit: each daemon that the tests start is behind it, as in its life under systemd."""

import atexit
import functools
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
UNIT = HERE.parents[1] / "systemd/tickerd.service"


def analyze(*arguments):
    environment = os.environ | {"SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
    return subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, env=environment, timeout=60)


def call_sets():
    """systemd's sets of system calls, each with what it holds, other sets included."""
    sets, current = {}, None
    for line in analyze("syscall-filter").stdout.splitlines():
        if line.startswith("@"):
            current = sets.setdefault(line.strip(), set())
        elif line.startswith("    ") and not line.strip().startswith("#"):
            current.add(line.strip())
    expand = lambda name: set().union(*(expand(item) if item.startswith("@") else {item} for item in sets[name]))
    return {name: expand(name) for name in sets}


def allowed_calls():
    """As the unit's lines say, in their order."""
    sets, allowed = call_sets(), set()
    for value in re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.MULTILINE):
        named = set().union(*(sets.get(item, {item}) for item in value.lstrip("~").split()))
        allowed = allowed - named if value.startswith("~") else allowed | named
    return allowed


@functools.cache
def behind_the_filter():
    """The command that runs another one behind the filter; what is forbidden ends it by SIGSYS. Compiled once for all that this process starts."""
    calls = allowed_calls()
    assert "epoll_wait" in calls and "mount" not in calls, "systemd-analyze says what the sets hold"
    if os.geteuid() == 0:
        calls |= {"fchown"}  # SQLite gives its files to their directory's owner, as root alone; the unit's user is none
    directory = tempfile.mkdtemp(prefix="tickerd-e2e-filter-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    # A name that this machine's architecture does not have is no call of it.
    lines = "".join(f"#ifdef SYS_{name}\nALLOW_IF(SYS_{name}),\n#endif\n" for name in sorted(calls))
    Path(directory, "allowed_calls.h").write_text(lines)
    program = Path(directory, "unit_filter")
    subprocess.run(["cc", "-O1", "-Wall", "-Werror", "-static", f"-I{directory}", "-o", program, HERE / "unit_filter.c"], check=True)
    return [str(program)]
