"""The Debian package, as `systemd/package` has made it: installed, removed and purged by dpkg, in a directory of its own."""

import gzip
import os
import subprocess
from pathlib import Path

import pytest
from harness import ROOT

PACKAGE = ROOT / "target/debian/tickerd.deb"


@pytest.fixture(scope="module")
def package():
    """`tests/run package` makes it."""
    assert PACKAGE.exists(), f"{PACKAGE} is missing: tests/run package"
    return PACKAGE


class Machine:
    """A directory in which dpkg installs; the maintainer scripts get it as DPKG_ROOT."""

    def __init__(self, directory):
        self.root = directory
        for name in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "etc", "usr/lib"):
            (directory / name).mkdir(parents=True)
        (directory / "var/lib/dpkg/status").touch()
        (directory / "etc/passwd").touch()
        (directory / "etc/group").touch()

    def dpkg(self, *arguments):
        command = ["dpkg", f"--root={self.root}", "--force-script-chrootless", "--force-depends", "--force-not-root", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, *arguments):
        environment = {"PATH": os.environ["PATH"], "CREDENTIALS_DIRECTORY": str(self.root / "etc/tickerd")}
        return subprocess.run([self.root / "usr/bin/tickerd", *map(str, arguments)], capture_output=True, text=True, env=environment, timeout=60)


def test_the_package_is_installed_removed_and_purged(package, tmp_path):
    """OPS-01, OPS-07: files, user and key; the configuration that is installed is taken as it is; a removal keeps what is the operator's."""
    machine = Machine(tmp_path)
    machine.dpkg("-i", package)
    assert "tickerd:x:" in (tmp_path / "etc/passwd").read_text()
    key = tmp_path / "etc/tickerd/jwt.key"
    assert key.stat().st_mode & 0o777 == 0o600 and key.stat().st_size > 32
    for name in ("tickerd.service", "tickerd.socket"):
        assert (tmp_path / "usr/lib/systemd/system" / name).read_text() == (ROOT / "systemd" / name).read_text()
    for name in ("monitoring", "proxy"):
        installed = {file.name for file in (tmp_path / "usr/share/doc/tickerd" / name).iterdir()}
        assert installed == {file.name for file in (ROOT / "systemd" / name).iterdir()}
    checked = machine.run("check", "--config", tmp_path / "etc/tickerd/tickerd.toml", "--data-dir", tmp_path / "var/lib/tickerd")
    assert checked.returncode == 0, checked.stderr
    secret = key.read_bytes()
    machine.dpkg("-i", package)
    assert key.read_bytes() == secret, "an update leaves the key alone"
    machine.dpkg("--remove", "tickerd")
    assert not (tmp_path / "usr/bin/tickerd").exists() and key.exists() and (tmp_path / "etc/tickerd/tickerd.toml").exists()
    machine.dpkg("--purge", "tickerd")
    assert not key.exists() and not (tmp_path / "etc/tickerd/tickerd.toml").exists()


def test_pages_and_completions(package, tmp_path):
    """Every subcommand that --help lists has its page, which man shows without a warning."""
    machine = Machine(tmp_path)
    machine.dpkg("-i", package)
    text = machine.run("--help").stdout
    listed = [line.split()[0] for line in text.split("Commands:")[1].split("Options:")[0].splitlines() if line.startswith("  ") and line[2] != " "]
    pages = sorted((tmp_path / "usr/share/man/man1").iterdir())
    named = {page.name.split(".1")[0] for page in pages}
    assert named == {"tickerd", *(f"tickerd-{name}" for name in listed if name not in ("help", "man", "completions"))}
    for page in pages:
        roff = gzip.decompress(page.read_bytes()) if page.suffix == ".gz" else page.read_bytes()
        assert roff.count(b"\n.SH ") >= 2, page
    for name in ("bash-completion/completions/tickerd", "zsh/vendor-completions/_tickerd", "fish/vendor_completions.d/tickerd.fish"):
        assert "max-connections" in (tmp_path / "usr/share" / name).read_text()
    sourced = subprocess.run(["bash", "-c", f"source {tmp_path}/usr/share/bash-completion/completions/tickerd && complete -p tickerd"], capture_output=True)
    assert sourced.returncode == 0, sourced.stderr


def test_nothing_in_it_is_of_the_machine_that_made_it(package):
    """Owned by root, and no stray file."""
    listed = subprocess.run(["dpkg-deb", "--contents", package], capture_output=True, text=True, check=True).stdout.splitlines()
    assert all(line.split()[1] in ("root/root", "0/0") for line in listed)
    tops = {Path(line.split()[5]).parts[:2] for line in listed if len(Path(line.split()[5]).parts) > 1}
    assert tops == {("usr", "bin"), ("usr", "lib"), ("usr", "share"), ("etc", "tickerd")}
