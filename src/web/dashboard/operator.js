// The operator's page: what the daemon says of itself, every two seconds, to a token with the scope `admin`. All text from the server is put in as text.

import { SPAN_MS, drawPercentiles, drawSpark } from "./charts.js";
import * as figures from "./figures.js";
import { colour } from "./plots.js";
import { EVERY_MS, Poller } from "./poll.js";
import { claimsOf, forget, given, keep } from "./session.js";

const LANES = ["alert", "update", "metric"];
const WINDOW_MS = 10_000; // of rates and percentiles
const REFUSALS_MS = 60_000;
const ROWS = 12;
const BARS = 8;
const SLOW_BYTES = 1024; // less is what a turn of a loop may leave to anybody
const PICTURE_EVERY_MS = 100;

const $ = (selector, within = document) => within.querySelector(selector);

// ---- what is kept of a round --------------------------------------------------------------------------------------------

/** What is kept of a scrape for the next minutes. */
function recordOf(samples, at) {
  const { sum, by, histogram } = figures;
  const inBudget = sum(samples, "tickerd_memory_budget_bytes");
  const prefixed = (prefix, values) => Object.fromEntries(Object.entries(values).map(([name, value]) => [`${prefix}${name.replaceAll("_", " ")}`, value]));
  return {
    at,
    started: sum(samples, "tickerd_process_start_time_seconds"),
    connections: sum(samples, "tickerd_connections", { kind: "websocket" }) + sum(samples, "tickerd_connections", { kind: "events" }),
    users: sum(samples, "tickerd_users"),
    accepted: sum(samples, "tickerd_handshakes_total", { result: "upgraded" }),
    events: sum(samples, "tickerd_events_accepted_total"),
    deliveries: sum(samples, "tickerd_frames_sent_total"),
    sentBytes: sum(samples, "tickerd_sent_bytes_total"),
    queuedBytes: sum(samples, "tickerd_queued_bytes"),
    cpuMs: sum(samples, "tickerd_process_cpu_milliseconds_total"),
    memoryBytes: inBudget > 0 ? sum(samples, "tickerd_memory_used_bytes") : sum(samples, "tickerd_process_resident_bytes"),
    memoryMax: inBudget,
    inLane: by(samples, "tickerd_events_accepted_total", "lane"),
    outLane: by(samples, "tickerd_frames_sent_total", "lane"),
    latency: Object.fromEntries(LANES.map((lane) => [lane, histogram(samples, "tickerd_delivery_seconds", { lane })])),
    refusals: {
      ...prefixed("", by(samples, "tickerd_refused_total", "error")),
      ...prefixed("handshake: ", withoutGood(by(samples, "tickerd_handshakes_total", "result"))),
      ...prefixed("token: ", by(samples, "tickerd_token_errors_total", "reason")),
      ...prefixed("dropped: ", by(samples, "tickerd_dropped_frames_total", "why")),
      ...prefixed("memory: ", by(samples, "tickerd_memory_refused_total", "what")),
      "closed as too slow": sum(samples, "tickerd_closed_total", { reason: "slow_consumer" }),
    },
    links: Object.entries(by(samples, "tickerd_link_used_slots", "link")).map(([name, used]) => [name, used, sum(samples, "tickerd_link_slots", { link: name })]),
    journal: samples.has("tickerd_journal_bytes") && {
      bytes: sum(samples, "tickerd_journal_bytes"),
      entries: sum(samples, "tickerd_journal_entries_total"),
      queued: sum(samples, "tickerd_journal_queued_entries"),
      queuedBytes: sum(samples, "tickerd_journal_queued_bytes"),
      waiting: sum(samples, "tickerd_journal_waiting_publishes"),
      isFailing: sum(samples, "tickerd_journal_failing") > 0,
      failures: sum(samples, "tickerd_journal_failures_total"),
      commits: histogram(samples, "tickerd_journal_commit_seconds", { log: "events" }),
    },
    analytics: samples.has("tickerd_analytics_accounts") && {
      accounts: sum(samples, "tickerd_analytics_accounts"),
      bytes: sum(samples, "tickerd_analytics_accounts_bytes"),
      inputs: by(samples, "tickerd_analytics_inputs_total", "result"),
      published: sum(samples, "tickerd_analytics_published_total", { result: "accepted" }),
      behindBytes: sum(samples, "tickerd_analytics_behind_bytes"),
      lagMs: sum(samples, "tickerd_analytics_lag_milliseconds"),
      rounds: sum(samples, "tickerd_analytics_verified_total"),
      drifted: sum(samples, "tickerd_analytics_drifted_accounts"),
    },
  };
}

const withoutGood = ({ upgraded, ...results }) => results;

// ---- the page -----------------------------------------------------------------------------------------------------------

const TILES = [
  { name: "Clients", value: ({ connections }) => connections, text: figures.whole, note: (view, now) => `${figures.rate(view.history.rate((r) => r.accepted, WINDOW_MS))} new/s · ${counted(now.users, "user", "users")}` },
  { name: "Events in", rate: ({ events }) => events, text: figures.rate, unit: " /s" },
  { name: "Deliveries", rate: ({ deliveries }) => deliveries, text: figures.rate, unit: " /s" },
  { name: "Sent", rate: ({ sentBytes }) => sentBytes, text: figures.bytes, unit: "/s" },
  { name: "Queued", value: ({ queuedBytes }) => queuedBytes, text: figures.bytes, note: () => "for all clients" },
  { name: "Processor", rate: ({ cpuMs }) => cpuMs / 1000, text: figures.percent, note: () => "of a core" },
  { name: "Memory", value: ({ memoryBytes }) => memoryBytes, text: figures.bytes, note: (view, now) => (now.memoryMax > 0 ? `of ${figures.bytes(now.memoryMax)}` : "resident") },
];

class View {
  history = new figures.History(SPAN_MS + 60_000);
  tiles = TILES.map((tile) => ({ ...tile, points: [], element: newTile(tile.name) }));
  lanes = LANES.map((lane) => ({ lane, points: [], element: newLane(lane) }));
  colours = null;

  constructor({ token }) {
    this.token = token;
    $("#tiles").replaceChildren(...this.tiles.map(({ element }) => element.root));
    $("#lane-plots").replaceChildren(...this.lanes.map(({ element }) => element.root));
    $("#who").textContent = claimsOf(token).sub ?? "";
    this.poller = new Poller(token, (get) => this.ask(get));
    this.darkness = matchMedia("(prefers-color-scheme: dark)");
    this.onDarkness = () => (this.colours = null);
    this.darkness.addEventListener("change", this.onDarkness);
    this.stillness = matchMedia("(prefers-reduced-motion: reduce)");
  }

  end() {
    this.poller.end();
    this.darkness.removeEventListener("change", this.onDarkness);
  }

  /** One round: one request after the other, so that a page takes one connection. */
  async ask(get) {
    const by = $("#rooms-by").value;
    const metrics = await get("metrics");
    const at = performance.now();
    const health = await get("healthz");
    const { alerts } = await get("alerts");
    const { rooms } = await get(`rooms?sort=${by}&limit=${ROWS}`);
    const { connections } = await get(`connections?sort=queued&limit=${ROWS}`);
    this.take(recordOf(figures.parse(metrics), at));
    this.show({ health, alerts, rooms, by, connections });
  }

  take(record) {
    if (!this.history.add(record)) for (const { points } of [...this.tiles, ...this.lanes]) points.length = 0;
    const { history } = this;
    const isOld = ({ at }) => at < record.at - SPAN_MS - 30_000;
    for (const { points, value, rate } of this.tiles) {
      points.push({ at: record.at, value: value ? value(record) : history.rate(rate, EVERY_MS) });
      while (isOld(points[0])) points.shift();
    }
    const before = history.before(record, WINDOW_MS);
    for (const { lane, points } of this.lanes) {
      const { bounds } = record.latency[lane];
      const counts = before && figures.between(before.latency[lane], record.latency[lane]);
      const share = (of) => (counts ? figures.percentile(bounds, counts, of) : null);
      points.push({ at: record.at, p50: share(0.5), p99: share(0.99), p999: share(0.999) });
      while (isOld(points[0])) points.shift();
    }
  }

  // -- what is shown --

  show({ health, alerts, rooms, by, connections }) {
    const now = this.history.last;
    this.showState(health, alerts);
    for (const tile of this.tiles) {
      const value = tile.value ? tile.value(now) : this.history.rate(tile.rate, WINDOW_MS);
      setText(tile.element.value, tile.text(value) + (value === null ? "" : (tile.unit ?? "")));
      setText(tile.element.note, tile.note?.(this, now) ?? "");
    }
    for (const { lane, points, element } of this.lanes) {
      const { p50, p99, p999 } = points.at(-1);
      const rate = (of) => figures.rate(this.history.rate(of, WINDOW_MS));
      const shown = [figures.seconds(p50), figures.seconds(p99), figures.seconds(p999), rate((r) => r.inLane[lane]), rate((r) => r.outLane[lane])];
      shown.forEach((text, i) => setText(element.figures[i], text));
      element.canvas.setAttribute("aria-label", `${lane}: p50 ${shown[0]}, p99 ${shown[1]}, p99.9 ${shown[2]}, over the last five minutes`);
    }
    this.showRooms(rooms, by);
    this.showSlow(connections.filter((each) => each.queued_bytes >= SLOW_BYTES || each.slow));
    this.showQueues(now);
    this.showJournal(now.journal);
    this.showAnalytics(now.analytics);
    this.showRefusals();
  }

  showState(health, alerts) {
    const firing = alerts.filter(({ state }) => state === "firing");
    const down = health.components.filter(({ ok }) => !ok);
    const isBad = down.some(({ critical }) => critical) || firing.some(({ severity }) => severity === "critical");
    const faults = [down.length > 0 && counted(down.length, "part is down", "parts are down"), firing.length > 0 && counted(firing.length, "alert fires", "alerts fire")];
    const wrong = faults.filter(Boolean).join(", ");
    setText($("#verdict span"), wrong || "All parts work, no alert fires");
    $("#verdict").dataset.state = wrong ? (isBad ? "bad" : "fair") : "good";
    setText($("#since"), `${health.state} for ${figures.ago(health.for_ms)} · version ${health.version}`);
    rows($("#firing"), "li", [...firing].sort((a, b) => a.severity.localeCompare(b.severity)), (item, alert) => {
      item.dataset.severity = alert.severity;
      const value = alert.value === null ? "" : ` · ${short(alert.value)}, fires at ${short(alert.fire)}`;
      cells(item, ["b", "span", "p"], [alert.alert.replaceAll("_", " "), `for ${figures.ago(alert.for_ms)}${value}`, alert.help.replaceAll("`", "")], ["", "quiet", ""]);
    });
    rows($("#parts"), "li", health.components, (item, { name, ok, critical, fault, for_ms: forMs }) => {
      item.dataset.state = ok ? "good" : critical ? "bad" : "fair";
      cells(item, ["i", "span", "span"], ["", name, ok ? "" : `: ${fault} (${figures.ago(forMs)})`]);
      item.title = ok ? `works, for ${figures.ago(forMs)}` : "";
    });
  }

  showRooms(rooms, by) {
    $("#rooms table").dataset.by = by;
    $("#rooms .empty").hidden = rooms.length > 0;
    rows($("#rooms tbody"), "tr", rooms, (row, each) => {
      const shown = [
        each.room,
        figures.whole(each.members),
        figures.rate(each.events_per_s),
        figures.rate(each.deliveries_per_s),
        figures.bytes(each.bytes_per_s),
        each.queued_bytes > 0 ? figures.bytes(each.queued_bytes) : "0",
      ];
      cells(row, ["th", "td", "td", "td", "td", "td"], shown, ["", "number", "number", "number", "number", "number"]);
      row.cells[0].scope = "row";
      row.cells[0].title = each.room;
    });
  }

  showSlow(connections) {
    $("#slow .empty").hidden = connections.length > 0;
    $("#slow table").hidden = connections.length === 0;
    rows($("#slow tbody"), "tr", connections, (row, each) => {
      row.classList.toggle("is-slow", each.slow);
      const from = `${each.ip ?? "unix"} · ${each.transport}`;
      const shown = [
        each.user ?? "–",
        from,
        figures.bytes(each.queued_bytes),
        figures.ago(each.oldest_ms),
        figures.seconds(each.rtt_us === null ? null : each.rtt_us / 1e6),
        each.rooms.length === 1 ? each.rooms[0].room : `${each.rooms.length} rooms`,
      ];
      cells(row, ["th", "td", "td", "td", "td", "td"], shown, ["", "", "number", "number", "number", ""]);
      row.cells[0].scope = "row";
      row.cells[0].dataset.from = from;
      row.cells[0].title = each.slow ? `${each.user}: was warned of reading too slowly` : (each.user ?? "");
      row.cells[5].title = each.rooms.map(({ room }) => room).join(", ");
    });
  }

  showQueues({ links }) {
    bars($("#queues .bars"), links.map(([name, used, slots]) => ({ name, share: used / slots, text: `${figures.whole(used)} of ${figures.whole(slots)}`, isBad: used / slots > 0.8 })));
  }

  showJournal(journal) {
    $("#journal .empty").hidden = Boolean(journal);
    $("#journal dl").hidden = !journal;
    if (!journal) return;
    const before = this.history.before(this.history.last, REFUSALS_MS)?.journal;
    const counts = before && figures.between(before.commits, journal.commits);
    const share = (of) => figures.seconds(counts ? figures.percentile(journal.commits.bounds, counts, of) : null);
    const shown = [
      ["Waits for the disk", `${figures.whole(journal.queued)} · ${figures.bytes(journal.queuedBytes)}`],
      ["Publishers waiting", figures.whole(journal.waiting)],
      ["Entries", `${figures.rate(this.history.rate((r) => r.journal.entries, WINDOW_MS))} /s`],
      ["Write and sync", `p50 ${share(0.5)} · p99 ${share(0.99)}`],
      ["On disk", figures.bytes(journal.bytes)],
      ["The disk", journal.isFailing ? "takes nothing" : journal.failures > 0 ? `works; ${figures.whole(journal.failures)} failures so far` : "works"],
    ];
    rows($("#journal dl"), "div", shown, (row, texts) => cells(row, ["dt", "dd"], texts));
    $("#journal dl").lastElementChild.classList.toggle("down", journal.isFailing);
  }

  showAnalytics(analytics) {
    $("#analytics").hidden = !analytics;
    if (!analytics) return;
    const { accounts, inputs, drifted, rounds } = analytics;
    const perSecond = (of) => `${figures.rate(this.history.rate((r) => r.analytics && of(r.analytics), WINDOW_MS))} /s`;
    const shown = [
      ["Accounts", `${figures.whole(accounts)} · ${figures.bytes(analytics.bytes)}`],
      ["Fills", perSecond(({ inputs }) => inputs.fill)],
      ["Prices", perSecond(({ inputs }) => inputs.mark)],
      ["Published", perSecond(({ published }) => published)],
      ["Refused so far", figures.whole(inputs.refused)],
      ["Behind the journal", analytics.behindBytes > 0 ? `${figures.bytes(analytics.behindBytes)} · ${figures.seconds(analytics.lagMs / 1000)}` : "no"],
      ["Computed again", rounds === 0 ? "not yet" : drifted > 0 ? `${counted(drifted, "account differs", "accounts differ")}` : "equal"],
    ];
    rows($("#analytics dl"), "div", shown, (row, texts) => cells(row, ["dt", "dd"], texts));
    $("#analytics dl").lastElementChild.classList.toggle("down", drifted > 0);
  }

  showRefusals() {
    const grown = figures.growth(this.history, ({ refusals }) => refusals, REFUSALS_MS).slice(0, BARS);
    const most = grown[0]?.[1] ?? 1;
    $("#refusals .empty").hidden = grown.length > 0;
    bars($("#refusals .bars"), grown.map(([name, count]) => ({ name, share: count / most, text: figures.whole(count) })));
  }

  /** What the badge and the notice say of the figures' age, and the pictures. */
  frame(isMoving) {
    this.showFreshness();
    this.colours ??= Object.fromEntries(["line", "quiet", "accent", ...LANES].map((name) => [name, colour(name)]));
    if (!isMoving && this.stillness.matches && this.drawn === this.history.last) return;
    this.drawn = this.history.last;
    const now = this.stillness.matches ? (this.drawn?.at ?? 0) : performance.now();
    for (const { points, element } of this.tiles) drawSpark(element.canvas, points, { now, colour: this.colours.accent, isStill: this.stillness.matches });
    for (const { lane, points, element } of this.lanes) {
      drawPercentiles(element.canvas, points, { now, colours: { ...this.colours, lane: this.colours[lane] } });
    }
  }

  showFreshness() {
    const { state, failure, goodAt, nextAt } = this.poller;
    if (failure?.isFinal) return signIn(failure.text, state === "signed-out");
    const names = { live: "Live", loading: "Loading", stale: "No data", offline: "Offline", busy: "Busy", broken: "Refused" };
    setText($("#connection span"), names[state]);
    $("#connection").dataset.quality = { live: "good", loading: "offline", busy: "fair" }[state] ?? "lost";
    const age = goodAt === null ? "" : ` No data for ${figures.ago(performance.now() - goodAt)}; this is what was true then.`;
    const next = Math.ceil((nextAt - performance.now()) / 1000);
    const again = next > 0 ? ` Next attempt in ${next} s.` : " Trying now.";
    const isShown = state !== "live" && state !== "loading";
    $("#notice").hidden = !isShown;
    if (isShown) setText($("#notice"), `${failure?.text ?? "The server takes long to answer."}${age}${again}`);
    document.body.classList.toggle("is-stale", isShown);
    document.body.classList.toggle("is-loading", state === "loading");
  }
}

// ---- small things -------------------------------------------------------------------------------------------------------

/** Writes only what has changed: the rest of the page is left alone, and nothing is read out twice. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** As many elements as there are items, each brought up to date. */
function rows(parent, tag, items, update) {
  while (parent.children.length > items.length) parent.lastElementChild.remove();
  while (parent.children.length < items.length) parent.append(document.createElement(tag));
  items.forEach((item, i) => update(parent.children[i], item));
}

/** The same of what is in a row. */
function cells(row, tags, texts, classes = []) {
  if (row.children.length !== tags.length) row.replaceChildren(...tags.map((tag, i) => Object.assign(document.createElement(tag), { className: classes[i] ?? "" })));
  texts.forEach((text, i) => setText(row.children[i], text));
}

function bars(list, items) {
  rows(list, "li", items, (item, { name, share, text, isBad = false }) => {
    cells(item, ["span", "progress", "span"], [name, "", text], ["", "", "number"]);
    const [, bar] = item.children;
    Object.assign(bar, { max: 1, value: share });
    bar.setAttribute("aria-label", name);
    item.classList.toggle("is-full", isBad);
  });
}

const counted = (n, one, many) => `${figures.whole(n)} ${n === 1 ? one : many}`;

const short = (value) => (Math.abs(value) >= 1e6 ? value.toExponential(1) : Number(value.toPrecision(3)).toLocaleString("en-US"));

function newElement(tag, className, ...children) {
  const element = Object.assign(document.createElement(tag), { className });
  element.append(...children);
  return element;
}

function newTile(name) {
  const [value, note, canvas] = [newElement("b", ""), newElement("small", ""), newElement("canvas", "")];
  canvas.setAttribute("aria-hidden", "true");
  return { root: newElement("div", "tile", newElement("span", "", name), value, note, canvas), value, note, canvas };
}

function newLane(lane) {
  const names = ["p50", "p99", "p99.9", "in/s", "out/s"];
  const values = names.map(() => newElement("dd", "", "–"));
  const list = newElement("dl", "figures", ...names.map((name, i) => newElement("div", "", newElement("dt", "", name), values[i])));
  const canvas = newElement("canvas", "");
  canvas.setAttribute("role", "img");
  const root = newElement("div", "lane", newElement("h3", "", lane), list, canvas);
  root.dataset.lane = lane;
  return { root, figures: values, canvas };
}

// ---- it runs ------------------------------------------------------------------------------------------------------------

let view = null;
let drawnAt = 0;

/** A token without the scope is kept for the desk's view; one that is good no more is not. */
function signIn(reason, isSignedOut = false) {
  view?.end();
  view = null;
  if (isSignedOut) forget();
  document.body.classList.remove("is-stale", "is-loading");
  $("#sign-in").hidden = false;
  $("#operator").hidden = $("#notice").hidden = true;
  $("#connection").dataset.quality = "offline";
  setText($("#connection span"), "Not connected");
  setText($("#who"), "");
  setText($("#sign-in-error"), reason);
  $("#token").focus();
}

function start() {
  const session = given();
  $("nav").hidden = !session?.rooms && !claimsOf(session?.token).rooms;
  if (!session) return signIn("");
  $("#sign-in").hidden = true;
  $("#operator").hidden = false;
  view = new View(session);
  drawnAt = 0;
}

function frame(at) {
  requestAnimationFrame(frame);
  if (!view || at - drawnAt < PICTURE_EVERY_MS) return;
  view.frame(drawnAt === 0);
  drawnAt = at;
}

$("#sign-in").onsubmit = (event) => {
  event.preventDefault();
  keep({ ...given(), token: $("#token").value.trim() });
  $("#token").value = "";
  start();
};
$("#rooms-by").onchange = () => view?.poller.hurry();
addEventListener("resize", () => (drawnAt = 0));
start();
requestAnimationFrame(frame);
