"""README's steps for an operator, in a real systemd: the package is installed and started, a key rotated, a reload refused, a hang ended."""

import json
import shutil

import pytest
from harness import PATIENCE_S, ROOT, wait_until
from machine import Machine, indented_block
from test_package import PACKAGE

README = (ROOT / "README.md").read_text()
ALERT = '{"type":"RISK_ALERT","data":{"challenge_id":"8f","user_id":"u1"}}'


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """With the package installed and started, line by line as README says; the configuration is left as it is."""
    with Machine(tmp_path_factory.mktemp("machine")) as machine:
        assert PACKAGE.exists(), f"{PACKAGE} is missing: tests/run package"
        (machine.root / "root/target/debian").mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE, machine.root / "root/target/debian")
        machine.said = {}
        for line in indented_block(README, "systemd/package"):
            if "editor" not in line:
                command = line.removeprefix("systemd/package && ").replace("sudo ", "")
                machine.said[command] = machine.run(command).stdout
        yield machine


def publish(machine, token):
    return json.loads(machine.run(f'curl -sS http://127.0.0.1:8080/v1/publish -H "Authorization: Bearer $(cat {token})" -d \'{ALERT}\'').stdout)


def status(machine):
    return machine.run("systemctl show -P StatusText tickerd").stdout.strip()


def set_keys(machine, *keys):
    machine.run(f"sed -i 's|^jwt_key = .*|jwt_key = {json.dumps(keys)}|' /etc/tickerd/tickerd.toml")


def test_the_package_runs_as_readme_says(machine):
    """OPS-01, OPS-04, OPS-07: with all that the unit forbids it, every part works; a publish is on disk when it is acknowledged."""
    assert "# pass  secrets" in machine.said["tickerd check --config /etc/tickerd/tickerd.toml"]
    assert "Active: active (running)" in machine.said["systemctl status tickerd"]
    health = json.loads(machine.run("curl -sS http://127.0.0.1:9100/healthz").stdout)
    assert health["state"] == "ready" and {"journal", "audit"} <= {part["name"] for part in health["components"] if part["ok"]}
    assert [part for part in health["components"] if not part["ok"]] == []
    assert publish(machine, "backend.token")["ack"] == "durable"
    samples = dict(line.rsplit(" ", 1) for line in machine.run("curl -sS http://127.0.0.1:9100/metrics").stdout.splitlines() if line[0] != "#")
    seen = {name: float(samples[f"tickerd_process_{name}"]) for name in ("resident_bytes", "descriptors", "cpu_milliseconds_total")}
    assert all(value > 0 for value in seen.values()), seen
    assert "exposure level for tickerd.service: 1.2 OK" in machine.run("systemd-analyze security tickerd").stdout
    owner = machine.run("stat -c '%U %a' /var/lib/tickerd /var/lib/tickerd/journal /run/tickerd/publish.sock").stdout
    assert owner.splitlines() == ["tickerd 700", "tickerd 700", "tickerd 660"]


def test_why_a_user_does_not_get_a_room(machine):
    """ERR-06: asked with the token, by hand, with the configuration of the service."""
    publish(machine, "backend.token")
    machine.run("tickerd token --key /etc/tickerd/jwt.key --sub u2 > u2.token")
    asked = machine.run("tickerd explain --token-file u2.token --room challenge:8f --config /etc/tickerd/tickerd.toml", check=False)
    assert asked.returncode == 3 and asked.stdout.startswith("may_not: neither a pattern of the token nor ownership"), asked
    assert "the room belongs to u1" in asked.stdout


def test_a_key_is_rotated_as_readme_says(machine):
    """AUT-09: both keys hold, then the new one alone; nothing is restarted for it. And the unit's credential has to be there."""
    pid = machine.run("systemctl show -P MainPID tickerd").stdout
    for line in indented_block(README, "sudo tickerd token --generate-key"):
        if "editor" in line:
            set_keys(machine, "/etc/tickerd/new.key", "jwt.key")
        else:
            machine.run(line.replace("sudo ", ""))
    machine.run("tickerd token --key /etc/tickerd/new.key --sub backend --scope publish > new.token")
    wait_until(lambda: publish(machine, "new.token")["ok"], "the new key holds")
    assert publish(machine, "backend.token")["ok"]
    set_keys(machine, "/etc/tickerd/new.key")
    machine.run("systemctl reload tickerd")
    wait_until(lambda: publish(machine, "backend.token").get("name") == "auth_failed", "the old one is out")
    assert publish(machine, "new.token")["ok"] and machine.run("systemctl show -P MainPID tickerd").stdout == pid
    machine.run("mv /etc/tickerd/jwt.key . && ! systemctl restart tickerd")
    assert machine.run("systemctl show -P ExecMainStatus tickerd").stdout.strip() == "243"
    machine.run("mv jwt.key /etc/tickerd/ && systemctl restart tickerd")
    assert publish(machine, "new.token")["ok"]


def test_a_reload_that_is_refused_shows_in_the_status(machine):
    """OPS-01: `systemctl reload` says nothing of it."""
    machine.run("cp /etc/tickerd/tickerd.toml . && echo 'max_rooms = \"none\"' >> /etc/tickerd/tickerd.toml && systemctl reload tickerd")
    wait_until(lambda: "the last reload changed nothing: " in status(machine), "the status says so")
    assert "max_rooms" in machine.run("systemctl status tickerd").stdout
    machine.run("cp tickerd.toml /etc/tickerd/ && systemctl reload tickerd")
    wait_until(lambda: status(machine) == "ready, 0 clients", "that is over")


def test_a_daemon_that_hangs_is_started_again(machine):
    """OPS-04: by the watchdog; what was acknowledged is there."""
    machine.run("mkdir -p /run/systemd/system/tickerd.service.d && printf '[Service]\\nWatchdogSec=4\\n' > /run/systemd/system/tickerd.service.d/soon.conf")
    machine.run("systemctl daemon-reload && systemctl restart tickerd")
    key = machine.run("grep -q new.key /etc/tickerd/tickerd.toml && echo new || echo jwt").stdout.strip()
    machine.run(f"tickerd token --key /etc/tickerd/{key}.key --sub backend --scope publish > now.token")
    last = publish(machine, "now.token")["seq"]
    machine.run("kill -STOP $(systemctl show -P MainPID tickerd)")
    wait_until(lambda: machine.run("systemctl show -P NRestarts tickerd").stdout.strip() == "1", "it is started again", PATIENCE_S)
    wait_until(lambda: machine.run("systemctl is-active tickerd", check=False).stdout.strip() == "active", "it is ready", PATIENCE_S)
    assert publish(machine, "now.token")["seq"] == last + 1
