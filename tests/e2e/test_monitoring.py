"""What an operator watches the daemon with: alert rules and the dashboard, tried with the real Prometheus (OBS-01, OBS-06 to OBS-10, OBS-18)."""

import base64
import json
import re
import time
import urllib.parse
import urllib.request

import pytest
from alert_cases import CASES, promtool_tests
from authorizer import Authorizer, send
from certificates import Authority
from harness import DEADLINE_S, PATIENCE_S, ROOT, Client, equity, handshake_status, mint, note, risk_alert
from redis_server import RedisServer
from servers import Server, free_port, run

MONITORING = ROOT / "systemd/monitoring"
RULES = MONITORING / "tickerd.rules.yml"
DASHBOARD = MONITORING / "tickerd.grafana.json"
README = (ROOT / "README.md").read_text()
RULES_TEXT = re.sub(r"^ *#.*\n", "", RULES.read_text(), flags=re.MULTILINE)  # without comments


def test_the_rules_are_good_and_each_alert_has_its_place_in_readme():
    code, printed = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert code == 0, printed
    alerts = re.findall(r"- alert: (\w+)\n(.*?)(?=\n      - |\n  - name|\Z)", RULES_TEXT, re.DOTALL)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", README, re.MULTILINE)}
    for alert, body in alerts:
        assert "severity: " in body and "summary: " in body, alert
        (anchor,) = re.findall(r"runbook: README\.md#(\S+)", body)
        assert anchor in anchors, f"README has no heading for {alert}"
    assert len(alerts) == RULES_TEXT.count("- alert:")


def test_each_alert_fires_when_it_should_and_rests_when_it_should(tmp_path):
    """OBS-06 to OBS-10: every rule has a case of each kind."""
    assert set(re.findall(r"- alert: (\w+)", RULES_TEXT)) == CASES.keys()
    file = tmp_path / "tests.yml"
    file.write_text(json.dumps(promtool_tests(RULES)))
    code, printed = run("promtool", "test", "rules", file)
    assert code == 0, printed


@pytest.fixture
def busy(serve, tmp_path):
    """Two daemons that have between them everything that has metrics of its own, and what makes them do a bit of each."""
    authority = Authority(tmp_path)
    certificate, key, _ = authority.issue()
    context = authority.context_of_threads()
    authorizer = Authorizer(lambda handler, _: send(handler, {"allow": True}))
    redis = RedisServer(tmp_path / "redis")
    (tmp_path / "tickerd.toml").write_text("[analytics]\n")
    (tmp_path / "webhook.secret").write_text(f"whsec_{base64.b64encode(bytes(32)).decode()}\n")
    try:
        daemon = serve(
            config=tmp_path / "tickerd.toml", webhook_url=authorizer.url, webhook_secret_file=tmp_path / "webhook.secret",
            reactors=2, data_dir=tmp_path / "data", tls_cert=certificate, tls_key=key, compression=True,
            authorizer_url=authorizer.url, memory_budget="512MiB",
        )  # fmt: skip
        node = serve(reactors=1, redis=redis.url)  # Redis takes the journal's place
        with Client(daemon.address, mint(rooms=["challenge:c1"]), tls=context) as client:
            client.subscribe("challenge:c1", delta=True)

            def play():
                now = time.monotonic_ns()
                daemon.publish_unix(risk_alert(), equity(n=now), note("challenge:c1", "metric", "transient"), b"no json")
                client.subscribe(f"quote:{now}")
                client.request(type="unsubscribe", room=f"quote:{now}")
                Client(daemon.address, mint("visitor"), tls=context).close()
                assert handshake_status(daemon.address, "not.a.token", tls=context) == 401
                node.publish(risk_alert())

            yield [daemon, node], play
    finally:
        authorizer.stop()
        redis.end()


def test_each_query_of_the_dashboard_finds_something(busy, tmp_path):
    """Against a real Prometheus that scrapes a real daemon: no panel, and no rule, is empty because a name or a label is not what it was."""
    daemons, play = busy
    targets = '", "'.join("{}:{}".format(*daemon.admin) for daemon in daemons)
    config = tmp_path / "prometheus.yml"
    sample = (MONITORING / "prometheus.yml").read_text()
    for ours, theirs in {"[tickerd.rules.yml]": f"[{RULES}]", "127.0.0.1:9100": targets, "10s": "1s"}.items():
        assert ours in sample
        sample = sample.replace(ours, theirs)
    config.write_text(sample)
    code, printed = run("promtool", "check", "config", config)
    assert code == 0, printed

    wanted = dict(dashboard_queries()) | dict.fromkeys(re.findall(r"- record: (\S+)", RULES_TEXT), "recorded")
    wanted |= dict.fromkeys(("".join(found) for found in re.findall(r"(tickerd_\w+)(\{[^}]*\})", RULES_TEXT)), "selected by a rule")
    used = set(re.findall(r"\btickerd_\w+", RULES_TEXT + DASHBOARD.read_text()))
    names = {name.partition("{")[0] for daemon in daemons for name in daemon.metrics()}
    assert used - names == set(), "metrics that the daemon does not have"

    port = free_port()
    arguments = [f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}"]
    with Server("prometheus", *arguments, log=tmp_path / "prometheus.log") as prometheus:
        prometheus.wait_for(port)
        empty, ends = wanted, time.monotonic() + PATIENCE_S
        while empty:
            assert time.monotonic() < ends, f"nothing is found by {json.dumps(empty, indent=1)}"
            play()
            time.sleep(0.5)  # scrapes are a second apart
            empty = {query: what for query, what in empty.items() if not found(port, query)}


def dashboard_queries():
    """Every query of the dashboard as Grafana would send it, and what it is for."""
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"].replace("$__rate_interval", "10s").replace("$job", "tickerd").replace("$instance", ".*"), panel["title"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
            yield f"count by ({label}) ({series.replace('$job', 'tickerd')})", variable["name"]


def found(port, query):
    """The samples of a query, but for those that are no number."""
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
        return [sample for sample in json.load(answer)["data"]["result"] if sample["value"][1] != "NaN"]


def test_no_panel_covers_another():
    places = [panel["gridPos"] for panel in json.loads(DASHBOARD.read_text())["panels"]]
    cells = [(x, y) for place in places for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
