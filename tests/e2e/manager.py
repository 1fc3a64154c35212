"""What a service manager does, in a test: it hears notifications, holds sockets for a daemon; and what a debugger does: it stops single threads."""

import ctypes
import os
import socket
import threading
import time
from pathlib import Path

from harness import DEADLINE_S

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


class Manager:
    """A notification socket, as `$NOTIFY_SOCKET` names it, and everything that was said to it."""

    def __init__(self, directory):
        self.path = str(directory / "notify.sock")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(0.1)
        self.heard, self.over = [], threading.Event()
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()

    def environment(self, watchdog_s=None):
        """The command that runs a daemon under this manager, for `Daemon(prefix=…)`."""
        variables = [f"NOTIFY_SOCKET={self.path}"]
        if watchdog_s:
            variables.append(f"WATCHDOG_USEC={int(watchdog_s * 1e6)}")
        return ["env", *variables]

    def _listen(self):
        while not self.over.is_set():
            try:
                self.heard.append((time.monotonic(), self.socket.recv(4096).decode()))
            except TimeoutError:
                pass

    def said(self, what):
        """When something that begins so was said, each time."""
        return [at for at, text in list(self.heard) if text.startswith(what)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.socket.close()


def threads(pid):
    """The ids of its threads by name."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return {(task / "comm").read_text().strip(): int(task.name) for task in tasks}


class Stopped:
    """One thread of a process, standing still: as a debugger stops it, for a signal would stop all."""

    def __init__(self, pid, name):
        self.thread = threads(pid)[name]

    def __enter__(self):
        self._ptrace(PTRACE_SEIZE)
        self._ptrace(PTRACE_INTERRUPT)
        self._wait()
        return self

    def __exit__(self, *_):
        self._ptrace(PTRACE_DETACH)

    def _ptrace(self, request):
        LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        LIBC.ptrace.restype = ctypes.c_long
        if LIBC.ptrace(request, self.thread, None, None) == -1:
            error = ctypes.get_errno()
            raise OSError(error, f"ptrace({request}): {os.strerror(error)}")

    def _wait(self):
        ends = time.monotonic() + DEADLINE_S
        while os.waitpid(self.thread, WALL | os.WNOHANG) == (0, 0):
            assert time.monotonic() < ends, "the thread does not stop"
            time.sleep(0.01)
