"""A machine of its own to install on: systemd as its first process, in a container over a layer on this one's files, with no network but loopback."""

import itertools
import os
import shutil
import subprocess
from pathlib import Path

from harness import PATIENCE_S, wait_until
from servers import tool

# What a start would begin by itself, and what waits for a network to come.
MASKED = (
    *(f"{name}.timer" for name in ("apt-daily", "apt-daily-upgrade", "dpkg-db-backup", "e2scrub_all", "fstrim", "man-db")),
    *(f"{name}-wait-online.service" for name in ("systemd-networkd", "NetworkManager", "ifupdown")),
)


class Machine:
    """It is up while this is used by `with`. What is written there is gone afterwards. It takes root."""

    def __init__(self, directory):
        self.directory, self.root = directory, directory / "root"
        self.log = directory / "console.log"

    def __enter__(self):
        mount(self.directory, "-t", "tmpfs", "-o", "size=2G", "tmpfs")
        for name in ("written", "work", "root"):
            (self.directory / name).mkdir()
        layers = f"lowerdir=/,upperdir={self.directory / 'written'},workdir={self.directory / 'work'}"
        mount(self.root, "-t", "overlay", "-o", layers, "overlay")
        for name in MASKED:
            place = self.root / "etc/systemd/system" / name
            place.unlink(missing_ok=True)
            place.symlink_to("/dev/null")
        (self.root / "etc/machine-id").unlink(missing_ok=True)
        (self.root / "etc/machine-id").write_text("uninitialized\n")
        shutil.rmtree(self.root / "run", ignore_errors=True)
        (self.root / "run").mkdir()
        command = [tool("systemd-nspawn"), "-D", self.root, f"--machine=tickerd-{os.getpid()}", "--private-network", "--register=no", "--keep-unit"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([*command, "-b", "--", "--unit=basic.target"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_until(self._is_up, "it is up", PATIENCE_S)
        except AssertionError as fault:
            console = self.log.read_text(errors="replace")[-4000:]
            self.process.kill()
            self.end()
            raise AssertionError(f"{fault}; the console:\n{console}") from None
        return self

    def __exit__(self, *_):
        self.run("systemctl poweroff", check=False)
        self.end()

    def end(self):
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        finally:
            for place in (self.root, self.directory):
                subprocess.run(["umount", "-l", place], check=False)

    def _is_up(self):
        assert self.process.poll() is None, "it has ended"
        return self.run("systemctl is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def run(self, line, check=True):
        """What a shell there, in the home of its root, makes of a line."""
        first = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        if not first:
            return subprocess.CompletedProcess(line, 1, "", "it has not begun")
        variables = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0", "LC_ALL=C.UTF-8"]
        command = ["nsenter", f"--target={first[0]}", *"-m -u -i -n -p -C env -i".split(), *variables, "sh", "-c", f"cd; {line}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0 or not check, f"{line}: exit code {done.returncode}: {done.stdout}{done.stderr}"
        return done


def mount(place, *arguments):
    subprocess.run(["mount", *arguments, place], check=True)


def indented_block(text, beginning):
    """The commands of the block of a Markdown text that begins so, without their comments."""
    lines = itertools.dropwhile(lambda line: not line.startswith(f"    {beginning}"), text.splitlines())
    block = list(itertools.takewhile(lambda line: line.startswith("    "), lines))
    assert block, f"no block begins with {beginning}"
    return [line.split("  # ")[0].strip() for line in block]
