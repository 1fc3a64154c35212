"""README is true today: its commands run, in a directory of their own, and do what it says."""

import json
import os
import re
import signal
import subprocess

from harness import BINARY, ROOT, wait_until

README = (ROOT / "README.md").read_text()
# How the commands are run here: built already, and on ports of their own, because 8080 may be taken on this machine.
BUILD = "cargo build --release"


def shell_blocks():
    return re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def block_with(text):
    (block,) = [block for block in shell_blocks() if text in block]
    return block


def environment():
    return os.environ | {"PATH": f"{BINARY.parent}:{os.environ['PATH']}"}


def spawn(script, cwd):
    return subprocess.Popen(["bash", "-ec", script], cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def end(process):
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=20)


def test_the_commands_of_by_hand_do_what_readme_says(tmp_path):
    """A key, two tokens, the daemon, a subscriber, a publish: as they stand in README, but for the ports."""
    blocks = [block_with("--generate-key desk.key"), block_with("ws://127.0.0.1:8080"), block_with("/v1/publish")]
    setup, serve = blocks[0].rsplit("\n", 2)[0], blocks[0].strip().rsplit("\n", 1)[1]
    assert serve.startswith("tickerd serve"), serve
    setup = "\n".join(line for line in setup.splitlines() if line != BUILD and not line.startswith("export PATH="))
    subprocess.run(["bash", "-ec", setup], cwd=tmp_path, env=environment(), check=True)
    assert (tmp_path / "desk.key").stat().st_mode & 0o777 == 0o600

    daemon = spawn(f"exec {serve} --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0", tmp_path)
    try:
        ready = json.loads(daemon.stdout.readline())
        here = lambda script: script.replace("127.0.0.1:8080", ready["listen"][0]).replace("127.0.0.1:9100", ready["admin"])
        output = tmp_path / "subscriber.out"
        subscriber = spawn(f"exec {here(blocks[1]).strip()} > {output}", tmp_path)
        try:
            wait_until(lambda: "caught_up" in output.read_text() if output.exists() else False, "the subscriber is caught up")
            answer = subprocess.run(["bash", "-ec", here(blocks[2])], cwd=tmp_path, env=environment(), check=True, capture_output=True)
            answer = json.loads(answer.stdout)
            assert (answer["ok"], answer["lane"], answer["members"]) == (True, "alert", 1), answer
            wait_until(lambda: "RISK_ALERT" in output.read_text(), "the subscriber has the alert")
            alert = json.loads(output.read_text().strip().splitlines()[-1])
            assert alert["data"]["drawdown_percentage"] == "4.12"
            promised = [json.loads(line) for line in re.findall(r'^    (\{"ok":true,"result".*\}|\{"type":"RISK_ALERT".*"4\.12"\}\})$', README, re.MULTILINE)]
            assert [sorted(line) for line in promised] == [sorted(answer), sorted(alert)], "README shows the members that there are"
            read = subprocess.run(["bash", "-c", here(block_with("/v1/events"))], cwd=tmp_path, env=environment(), check=False, capture_output=True)
            assert '"drawdown_percentage":"4.12"' in read.stdout.decode() and "caught_up" in read.stdout.decode(), read
            poll = subprocess.run(["bash", "-ec", here(block_with("/v1/poll"))], cwd=tmp_path, env=environment(), check=True, capture_output=True)
            assert [message["type"] for message in json.loads(poll.stdout)["messages"]] == ["subscribed", "RISK_ALERT"]
            rooms = subprocess.run(["bash", "-ec", here(block_with("/v1/admin/rooms"))], cwd=tmp_path, env=environment(), check=True, capture_output=True)
            assert [room["room"] for room in json.loads(rooms.stdout)["rooms"]] == ["challenge:8f"]
            revoke = ["bash", "-ec", here(block_with("/v1/revoke"))]
            revoked = subprocess.run(revoke, cwd=tmp_path, env=environment(), check=True, capture_output=True).stdout
            assert json.loads(revoked) == json.loads(re.search(r'^    (\{"ok":true,"ended".*\})$', README, re.MULTILINE).group(1))
            assert "4301" in subscriber.communicate(timeout=20)[1].decode()
        finally:
            end(subscriber)
    finally:
        end(daemon)


def test_the_main_command_shows_an_alert_overtaking_metrics(tmp_path):
    """The first command of README, for a few seconds."""
    (command,) = re.findall(r"^    cargo run --release -- (demo.*)$", README, re.MULTILINE)
    arguments = [*command.split(), "--seconds", "8", "--listen", "127.0.0.1:0"]
    shown = subprocess.run([BINARY, *arguments], cwd=tmp_path, capture_output=True, timeout=60)
    output = shown.stdout.decode()
    assert shown.returncode == 0, shown.stderr.decode()
    overtaken = [int(number.replace(",", "")) for number in re.findall(r"overtook ([\d,]+)", output)]
    assert overtaken and max(overtaken) > 100, output[-3000:]


def test_the_load_generator_runs_as_readme_says(tmp_path):
    """The commands of "Measure your host", on a daemon with the key of "By hand"; `full` is made small, and a bound wide, for a busy machine."""
    serve = block_with("--generate-key desk.key").strip().rsplit("\n", 1)[1]
    commands = block_with("tickerd loadtest")
    # 10,000 members are all that a daemon takes by default: the publisher must not be one connection more.
    full = [line for line in commands.splitlines() if "loadtest full" in line]
    assert full and all("--publish-socket desk.sock" in line for line in full) and "--publish-socket desk.sock" in serve
    script = commands.replace("loadtest full", "loadtest smoke").replace("alert.p99<5ms", "alert.p99<20s")
    script = script.replace("--key desk.key", "--key desk.key --url ws://{listen}/v1/ws --duration 500ms --warmup 0s")
    subprocess.run([BINARY, "token", "--generate-key", "desk.key"], cwd=tmp_path, check=True)
    daemon = spawn(f"exec {serve} --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0", tmp_path)
    try:
        listen = json.loads(daemon.stdout.readline())["listen"][0]
        shown = subprocess.run(["bash", "-ec", script.format(listen=listen)], cwd=tmp_path, env=environment(), capture_output=True, timeout=60)
        assert shown.returncode == 0, shown.stderr.decode()
        assert shown.stdout.decode().count("PASS  faults<=0") == 3, shown.stdout.decode()
    finally:
        end(daemon)


def test_tls_by_hand(tmp_path):
    """The commands of "TLS and proxies": a certificate, the daemon, a subscriber over wss."""
    tls, subscribe = block_with("openssl req"), block_with("--ca server.pem")
    for command in ["--generate-key desk.key", "--key desk.key --sub u1 --room challenge:8f > u1.token"]:
        subprocess.run(["bash", "-ec", f"tickerd token {command}"], cwd=tmp_path, env=environment(), check=True)
    make, serve = tls.strip().rsplit("\n", 1)
    subprocess.run(["bash", "-ec", make], cwd=tmp_path, env=environment(), check=True, capture_output=True)
    daemon = spawn(f"exec {serve.replace(':8443', ':0')} --admin-listen 127.0.0.1:0", tmp_path)
    try:
        port = json.loads(daemon.stdout.readline())["listen"][0].rsplit(":", 1)[1]
        output = tmp_path / "subscriber.out"
        subscriber = spawn(f"exec {subscribe.strip().replace('8443', port)} > {output}", tmp_path)
        try:
            wait_until(lambda: "caught_up" in output.read_text() if output.exists() else False, "the subscriber is caught up")
        finally:
            end(subscriber)
    finally:
        end(daemon)


def test_the_export_of_a_data_directory(tmp_path):
    """The command of "What survives"."""
    subprocess.run([BINARY, "token", "--generate-key", "desk.key"], cwd=tmp_path, check=True)
    daemon = spawn("exec tickerd serve --jwt-key desk.key --data-dir data --publish-socket desk.sock --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0", tmp_path)
    try:
        daemon.stdout.readline()
        event = '{"type":"RISK_ALERT","data":{"challenge_id":"8f","user_id":"u1"}}'
        subprocess.run([BINARY, "publish", "--socket", "desk.sock"], input=event.encode(), cwd=tmp_path, check=True)
        exported = subprocess.run(["bash", "-ec", block_with("tickerd export --data-dir data --room")], cwd=tmp_path, env=environment(), check=True, capture_output=True).stdout
        assert json.loads(exported)["data"] == {"challenge_id": "8f", "user_id": "u1"}
    finally:
        end(daemon)


def test_a_backup_while_the_daemon_runs_and_what_comes_of_it(tmp_path):
    """OPS-02: the commands of "Backup"; a daemon on the copy has states, events and revocations, and clients resume there."""
    subprocess.run([BINARY, "token", "--generate-key", "desk.key"], cwd=tmp_path, check=True)
    subprocess.run("tickerd token --key desk.key --sub u1 --room challenge:8f > u1.token", cwd=tmp_path, env=environment(), shell=True, check=True)
    serve = "exec tickerd serve --jwt-key desk.key --data-dir {} --publish-socket desk.sock --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0"
    events = ['{"type":"RISK_ALERT","data":{"challenge_id":"8f","user_id":"u1","n":%d}}' % n for n in range(100)]
    events.append('{"type":"EQUITY_UPDATED","data":{"challenge_id":"8f","user_id":"u1","current_equity":"1.00"}}')
    daemon = spawn(serve.format("data"), tmp_path)
    try:
        admin = json.loads(daemon.stdout.readline())["admin"]
        subprocess.run([BINARY, "publish", "--socket", "desk.sock"], input="\n".join(events).encode(), cwd=tmp_path, check=True)
        wait_until(lambda: "1.00" in exported(tmp_path, "data"), "the state is on disk")
        revoke = f"""curl -sS http://{admin}/v1/revoke -H 'Content-Type: application/json' -d '{{"sub":"u2"}}'"""
        subprocess.run(["bash", "-ec", revoke], check=True, capture_output=True)
        subprocess.run(["bash", "-ec", block_with("mkdir backup")], cwd=tmp_path, env=environment(), check=True)
        before = exported(tmp_path, "data")
    finally:
        end(daemon)
    assert exported(tmp_path, "backup") == before and before.count("RISK_ALERT") == 100
    assert '"sub":"u2"' in (tmp_path / "backup/revocations.ndjson").read_text()
    daemon = spawn(serve.format("backup"), tmp_path)
    try:
        url = f"ws://{json.loads(daemon.stdout.readline())['listen'][0]}/v1/ws"
        epoch = json.loads(before.splitlines()[0])["epoch"]
        resume = f"tickerd subscribe --url {url} --token-file u1.token --room challenge:8f --since {epoch}:alert.97 --count 4"
        resumed = subprocess.run(["bash", "-ec", resume], cwd=tmp_path, env=environment(), check=True, capture_output=True, timeout=20).stdout.decode()
        assert '"recovered":true' in resumed and [n for n in (97, 98, 99) if f'"n":{n}}}' in resumed] == [97, 98, 99], resumed
    finally:
        end(daemon)


def exported(directory, data_dir):
    command = [BINARY, "export", "--data-dir", data_dir, "--states"]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True).stdout.decode()


def test_the_audit_trail_and_the_performance_records(tmp_path):
    """The commands of "What survives" that read them, with the public tool."""
    subprocess.run([BINARY, "token", "--generate-key", "desk.key"], cwd=tmp_path, check=True)
    subprocess.run("tickerd token --key desk.key --sub u1 --room challenge:8f > u1.token", cwd=tmp_path, env=environment(), shell=True, check=True)
    daemon = spawn("exec tickerd serve --jwt-key desk.key --data-dir data --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0", tmp_path)
    try:
        url = f"ws://{json.loads(daemon.stdout.readline())['listen'][0]}/v1/ws"
        subscriber = spawn(f"exec tickerd subscribe --url {url} --token-file u1.token --room challenge:8f", tmp_path)
        try:
            assert b"subscribed" in subscriber.stdout.readline() + subscriber.stdout.readline()
        finally:
            end(subscriber)
    finally:
        end(daemon)
    block = block_with("sqlite3 -readonly")
    read = subprocess.run(["bash", "-ec", block], cwd=tmp_path, env=environment(), check=True, capture_output=True).stdout.decode().splitlines()
    kinds = [line.split("|")[1:] for line in read[:3]]
    assert kinds[1:] == [["join", "u1", "127.0.0.1", "challenge:8f", ""], ["connect", "u1", "127.0.0.1", "", ""]] and kinds[0][0] == "disconnect"
    assert len(read[3].split("|")) == 4 and json.loads(read[4])["room"] == "challenge:8f" and len(read) == 5


def test_every_command_block_of_readme_is_run_by_a_test():
    """A new block wants a test of its own here, or a place in CI."""
    known = ["tickerd serve", "tickerd subscribe", "curl", "tickerd loadtest", "tickerd export", "tests/run", "mkdir backup"]
    for block in shell_blocks():
        assert any(text in block for text in known), block
