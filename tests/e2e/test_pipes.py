"""Output into a pipe whose reader goes away: every command ends in peace."""

import json
import os
import subprocess

import pytest
from harness import BINARY, PATIENCE_S, SECRET, mint, note


def into_nothing(*arguments, text=None):
    """Runs a command whose stdout nobody reads: its exit code, and what it says on stderr."""
    reads, writes = os.pipe()
    os.close(reads)
    try:
        ended = subprocess.run([BINARY, *map(str, arguments)], stdout=writes, stderr=subprocess.PIPE, input=text, text=True, timeout=PATIENCE_S, check=False)
    finally:
        os.close(writes)
    return ended.returncode, ended.stderr


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("pipes")
    (directory / "jwt.key").write_text(SECRET)
    (directory / "u1.token").write_text(mint("u1", rooms=["r:1"]))
    (directory / "publisher.token").write_text(mint("backend", scope="publish"))
    return directory


def test_commands_without_a_daemon(files):
    """ERR-01: an exit code of 0, and nothing is said."""
    commands = [
        ["--help"],
        ["--version"],
        ["check", "--jwt-key", files / "jwt.key"],
        ["token", "--key", files / "jwt.key", "--sub", "u1"],
        ["completions", "bash"],
        ["man"],
        ["man", "serve"],
        ["loadtest", "list"],
        ["loadtest", "show", "desk"],
    ]
    said = {" ".join(map(str, command)): into_nothing(*command) for command in commands}
    assert {command: ended for command, ended in said.items() if ended[0] != 0 or "roken" in ended[1] or "panic" in ended[1]} == {}


def test_commands_of_a_daemon(serve, files, tmp_path):
    """The same; `explain` has its verdict as exit code all the same."""
    daemon = serve(data_dir=tmp_path / "data")
    daemon.publish(*[note("r:1", "alert", data={"n": n}) for n in range(100)])
    address = "{}:{}".format(*daemon.address)
    admin = "{}:{}".format(*daemon.admin)
    assert into_nothing("export", "--data-dir", tmp_path / "data") == (0, "")
    assert into_nothing("export", "--data-dir", tmp_path / "data", "--audit") == (0, "")
    assert into_nothing("subscribe", "--url", f"ws://{address}", "--token-file", files / "u1.token", "--room", "r:1")[0] == 0
    lines = "".join(json.dumps(note("r:1")) + "\n" for _ in range(50))
    code, said = into_nothing("publish", "--url", f"http://{address}", "--token-file", files / "publisher.token", "--acks", text=lines)
    assert code == 0 and "panic" not in said, said
    assert into_nothing("explain", "--admin", admin, "--user", "u1", "--room", "user:u2") == (4, "")
