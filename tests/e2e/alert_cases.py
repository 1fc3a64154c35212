"""For each alert rule of systemd/monitoring: series in which it fires, and series beside them, as near as can be, in which it does not.

One sample a minute, in promtool's notation: `0+60x90` is 0, 60, 120 and so on, one a second, for 90 minutes; `1x90` is 1 for so long.
"""

ALERT = 'lane="alert"'


def metric(name, labels="", values="0x90"):
    everywhere = 'job="tickerd",instance="a"'
    return {f"{name}{{{everywhere}{',' if labels else ''}{labels}}}": values}


def deliveries(late_per_minute, lane="alert", minutes=400):
    """1,000 deliveries a minute, of which so many take longer than 50 ms."""
    bucket = lambda le, n: metric("tickerd_delivery_seconds_bucket", f'lane="{lane}",le="{le}"', f"0+{n}x{minutes}")
    count = metric("tickerd_delivery_seconds_count", f'lane="{lane}"', f"0+1000x{minutes}")
    return bucket("0.05", 1000 - late_per_minute) | bucket("+Inf", 1000) | count


def mean(seconds, lane):
    total = metric("tickerd_delivery_seconds_sum", f'lane="{lane}"', f"0+{1000 * seconds:g}x90")
    return total | metric("tickerd_delivery_seconds_count", f'lane="{lane}"', "0+1000x90")


def batches(name, labels, bounds, slow_per_minute):
    """Of 1,000 a minute, so many take longer than the second of three bounds."""
    bucket = lambda le, n: metric(f"{name}_bucket", f'{labels},le="{le}"', f"0+{n}x90")
    first, second, last = bounds
    return bucket(first, 1000 - slow_per_minute) | bucket(second, 1000 - slow_per_minute) | bucket(last, 1000) | bucket("+Inf", 1000)


def commits(slow_per_minute):
    return batches("tickerd_journal_commit_seconds", 'log="events"', ("0.1", "0.2", "0.5"), slow_per_minute)


def appends(slow_per_minute):
    return batches("tickerd_redis_append_seconds", 'store="redis"', ("0.05", "0.1", "0.2"), slow_per_minute)


def absences(long_per_minute):
    """Of 100 absences a minute, so many last longer than 30 seconds."""
    bucket = lambda le, n: metric("tickerd_reconnect_seconds_bucket", f'le="{le}"', f"0+{n}x90")
    return bucket("20", 50) | bucket("30", 100 - long_per_minute) | bucket("45", 100) | bucket("+Inf", 100)


def refusals(by_hub, before_hub):
    """Of 1,000 published lines a minute."""
    lines = metric("tickerd_publish_lines_total", "", "0+1000x90")
    return lines | metric("tickerd_events_total", 'result="refused"', f"0+{by_hub}x90") | metric("tickerd_publish_refused_total", "", f"0+{before_hub}x90")


def handshakes(bad, result="bad_token"):
    """So many a minute that fail, beside 1,000 that do not."""
    return metric("tickerd_handshakes_total", f'result="{result}"', f"0+{bad}x90") | metric("tickerd_handshakes_total", 'result="upgraded"', "0+1000x90")


def component(name, is_up):
    return metric("tickerd_component_up", f'component="{name}"', f"{is_up}x90")


def clients(count):
    """One of them gets server-sent events."""
    return metric("tickerd_connections", 'kind="websocket"', f"{count - 1}x90") | metric("tickerd_connections", 'kind="events"', "1x90")


def drops(per_minute, why):
    return metric("tickerd_dropped_frames_total", f'why="{why}"', f"0+{per_minute}x90") | metric("tickerd_frames_sent_total", ALERT, "0+1000x90")


def budget(used, limit):
    parts = metric("tickerd_memory_used_bytes", 'part="frames"', f"{used - 1}x90") | metric("tickerd_memory_used_bytes", 'part="hub"', "1x90")
    return parts | metric("tickerd_memory_budget_bytes", "", f"{limit}x90")


DAY_S = 86_400
NEVER_LONG = " ".join(["1x8 0x0"] * 9)  # each tenth minute nothing waits
RESTARTS = " ".join(f"{n}x9" for n in range(1, 8))

# Of each alert: where it fires, and where it does not.
CASES = {
    "TickerdDown": (metric("up", values="0x90"), metric("up", values="1x90")),
    "TickerdThreadStalled": (component("reactor-1", 0), component("reactor-1", 1) | component("disk", 0)),
    "TickerdPartFailed": (component("disk", 0), component("disk", 1) | component("hub", 0)),
    "TickerdRestarting": (
        metric("tickerd_process_start_time_seconds", "", RESTARTS),
        metric("tickerd_process_start_time_seconds", "", " ".join(f"{n}x11" for n in range(1, 7))),
    ),
    "TickerdReloadFailed": (
        metric("tickerd_reloads_total", 'result="refused"', "0x55 1x35"),
        metric("tickerd_reloads_total", 'result="refused"', "1x90") | metric("tickerd_reloads_total", 'result="applied"', "0x55 1x35"),
    ),
    "TickerdInternalErrors": (
        metric("tickerd_refused_total", 'error="internal"', "0x55 1x35") | metric("tickerd_closed_total", 'reason="internal"'),
        metric("tickerd_refused_total", 'error="internal"') | metric("tickerd_closed_total", 'reason="internal"', "3x90"),
    ),
    "TickerdCertificateExpires": (
        metric("tickerd_tls_certificate_expiry_seconds", "", f"{14 * DAY_S - 1}x90"),
        metric("tickerd_tls_certificate_expiry_seconds", "", f"{14 * DAY_S}x90"),
    ),
    "TickerdCertificateExpiresNow": (
        metric("tickerd_tls_certificate_expiry_seconds", "", f"{2 * DAY_S - 1}x90"),
        metric("tickerd_tls_certificate_expiry_seconds", "", f"{2 * DAY_S}x90"),
    ),
    "TickerdFewConnections": (clients(99), clients(100)),
    "TickerdConnectionsNearLimit": (clients(9_001), clients(9_000)),
    "TickerdHandshakesFail": (handshakes(60), handshakes(50)),
    "TickerdReconnectStorm": (handshakes(0) | clients(9_000), handshakes(0) | clients(11_000)),
    "TickerdSlowReconnects": (absences(6), absences(4)),
    "TickerdSlowClients": (
        metric("tickerd_closed_total", 'reason="slow_consumer"', "0+1.2x90"),
        metric("tickerd_closed_total", 'reason="slow_consumer"', "0+0.9x90") | metric("tickerd_closed_total", 'reason="eof"', "0+50x90"),
    ),
    "TickerdTokensRefused": (
        metric("tickerd_token_errors_total", 'reason="signature"', "0+70x90"),
        metric("tickerd_token_errors_total", 'reason="signature"', "0+50x90") | metric("tickerd_token_errors_total", 'reason="expired"', "0+900x90"),
    ),
    "TickerdAcceptFails": (metric("tickerd_accept_errors_total", "", "0+36x90"), metric("tickerd_accept_errors_total", "", "0+24x90")),
    "TickerdAuthorizerFails": (metric("tickerd_authorizer_breaker", "", "1x90"), metric("tickerd_authorizer_breaker", "", "0x90")),
    "TickerdAlertsLate": (deliveries(15), deliveries(14)),
    "TickerdAlertsLateSlowly": (deliveries(7), deliveries(5)),
    "TickerdSlowDelivery": (mean(0.06, "update"), mean(0.04, "update") | mean(0.4, "metric")),
    "TickerdDeliveryFails": (drops(60, "closed"), drops(40, "closed") | drops(900, "unsubscribed")),
    "TickerdGaps": (metric("tickerd_gaps_total", "", "0+7x90"), metric("tickerd_gaps_total", "", "0+5x90")),
    "TickerdPublishesRefused": (refusals(30, 25), refusals(30, 20)),
    "TickerdQueueFull": (
        metric("tickerd_link_used_slots", 'link="bulk"', "81x90") | metric("tickerd_link_slots", 'link="bulk"', "100x90"),
        metric("tickerd_link_used_slots", 'link="bulk"', "80x90") | metric("tickerd_link_slots", 'link="bulk"', "100x90"),
    ),
    "TickerdUnacknowledged": (
        metric("tickerd_unacknowledged_expired_total", 'why="ttl"', "0x55 1x35"),
        metric("tickerd_unacknowledged_expired_total", 'why="ttl"', "1x90"),
    ),
    "TickerdMemoryShort": (budget(81, 100), budget(79, 100)),
    "TickerdMemoryRefuses": (
        metric("tickerd_memory_refused_total", 'what="metric"', "0+1x90"),
        metric("tickerd_memory_refused_total", 'what="metric"', "5x90"),
    ),
    "TickerdResidentMemory": (metric("tickerd_process_resident_bytes", "", "1000000001x90"), metric("tickerd_process_resident_bytes", "", "1000000000x90")),
    "TickerdJournalFails": (metric("tickerd_journal_failing", "", "1x90"), metric("tickerd_journal_failing", "", "0x90")),
    "TickerdJournalSlow": (commits(11), commits(9)),
    "TickerdJournalHoles": (metric("tickerd_journal_holes_total", "", "0x55 1x35"), metric("tickerd_journal_holes_total", "", "1x90")),
    "TickerdAuditLost": (metric("tickerd_audit_lost_total", "", "0x55 1x35"), metric("tickerd_audit_lost_total", "", "1x90")),
    "TickerdNumbersDrift": (metric("tickerd_analytics_drifted_accounts", "", "1x90"), metric("tickerd_analytics_drifted_accounts", "", "0x90")),
    "TickerdNumbersLate": (metric("tickerd_analytics_lag_milliseconds", "", "31000x90"), metric("tickerd_analytics_lag_milliseconds", "", "29000x90")),
    "TickerdFillsMissed": (
        metric("tickerd_analytics_missed_segments_total", "", "0x55 1x35"),
        metric("tickerd_analytics_missed_segments_total", "", "1x90"),
    ),
    "TickerdFillsRefused": (
        metric("tickerd_analytics_inputs_total", 'result="refused"', "0x55 1x35"),
        metric("tickerd_analytics_inputs_total", 'result="refused"', "1x90") | metric("tickerd_analytics_inputs_total", 'result="fill"', "0+60x90"),
    ),
    "TickerdWebhookFails": (metric("tickerd_webhook_breaker", "", "1x90"), metric("tickerd_webhook_breaker", "", "0x90")),
    "TickerdWebhookLate": (metric("tickerd_escalations_untold", "", "1x90"), metric("tickerd_escalations_untold", "", NEVER_LONG)),
    "TickerdRedisFails": (metric("tickerd_redis_breaker", "", "2x90"), metric("tickerd_redis_breaker", "", "0x90")),
    "TickerdRedisSlow": (appends(11), appends(9)),
    "TickerdRedisUnplaced": (metric("tickerd_redis_unplaced_total", "", "0x55 1x35"), metric("tickerd_redis_unplaced_total", "", "1x90")),
}

# Those that look further back than the others.
MINUTES = {"TickerdAlertsLateSlowly": 390}


def promtool_tests(rules_file):
    """promtool's test file: at the end of each case, the alert fires or does not."""
    tests = []
    for alert, sides in CASES.items():
        for fires, series in zip((True, False), sides, strict=True):
            minutes = MINUTES.get(alert, 60)
            query = f'count by (alertname) (ALERTS{{alertname="{alert}",alertstate="firing"}})'
            samples = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if fires else []
            tests.append({
                "name": f"{alert} {'fires' if fires else 'does not fire'}",
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [{"expr": query, "eval_time": f"{minutes}m", "exp_samples": samples}],
            })  # fmt: skip
    return {"rule_files": [str(rules_file)], "evaluation_interval": "1m", "tests": tests}
