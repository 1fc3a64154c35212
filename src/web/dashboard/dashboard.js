// The desk's page: its rooms live, and how long each lane takes to get here. Made with the same client that every page has.
//
// With the token come rooms, and the rooms that the flood consists of (session.js). All text from the server is put in as text.

import { connect } from "./client.js";
import { Latencies, colour, drawLatencies, drawLine } from "./plots.js";
import { claimsOf, forget, given, isOperator, keep } from "./session.js";

const LANES = ["alert", "update", "metric"];
const SPAN_MAX_MS = 180_000;
const SPAN_MIN_MS = 20_000;
const POINTS_MAX = 600;
const ROOMS_MAX = 100; // that one connection may join
const ALERTS_MAX = 50;
const FILLS_SHOWN = 12;
const STATUS_OF = { CHALLENGE_FAILED: "FAILED", CHALLENGE_FUNDED: "FUNDED" };
const TYPE_OF = { FAILED: "CHALLENGE_FAILED", FUNDED: "CHALLENGE_FUNDED" };

const $ = (selector, within = document) => within.querySelector(selector);

// ---- who and what ----------------------------------------------------------------------------------------------------

/** `challenge:c01..20` stands for twenty rooms. */
function expand(text) {
  return text.split(/[\s,]+/).filter(Boolean).flatMap((room) => {
    const range = room.match(/^(.*?)(\d+)\.\.(\d+)$/);
    if (!range) return [room];
    const [, before, first, last] = range;
    const count = Math.min(ROOMS_MAX, Math.max(0, Number(last) - Number(first) + 1));
    return Array.from({ length: count }, (_, i) => before + String(Number(first) + i).padStart(first.length, "0"));
  });
}

function signIn(reason) {
  $("#sign-in").hidden = false;
  $("#desk").hidden = true;
  $("#sign-in-error").textContent = reason;
  $("#token").focus();
  $("#sign-in").onsubmit = (event) => {
    event.preventDefault();
    keep({ token: $("#token").value.trim(), rooms: $("#rooms").value });
    $("#token").value = "";
    start();
  };
}

// ---- the desk --------------------------------------------------------------------------------------------------------

class Desk {
  rooms = new Map(); // name → { room, row, points, status }
  alerts = [];
  selected = null;
  race = null;
  flood = [];
  missed = 0;
  skew = Infinity; // of our clock before the server's, or less
  curveAt = 0;
  sparksAt = 0;
  lanes = Object.fromEntries(LANES.map((lane) => [lane, new Latencies()]));

  constructor({ token, rooms = "", flood = "" }) {
    this.floodRooms = expand(flood);
    const { rooms: granted = [], sub } = claimsOf(token);
    const named = (Array.isArray(granted) ? granted : []).filter((room) => typeof room === "string" && !room.includes("*"));
    const own = typeof sub === "string" ? [`user:${encodeURIComponent(sub)}`] : [];
    this.client = connect({ token });
    this.client.on("event", (event) => this.take(event));
    this.client.on("change", () => this.showConnection());
    for (const name of new Set([...expand(rooms), ...named, ...own])) this.join(name);
    this.select([...this.rooms.keys()].find((name) => name.startsWith("challenge:")) ?? null);
    this.colours = null;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (this.colours = null));
  }

  join(name) {
    const room = this.client.room(name, { delta: true, history: 30, keep: 60 });
    const entry = { room, name, points: [], status: null, row: this.rowOf(name), isChanged: true };
    this.rooms.set(name, entry);
    room.on("view", () => (entry.isChanged = true));
    room.on("gap", ({ from, to }) => (this.missed += to === null ? 1 : to - from + 1));
  }

  take({ type, room, lane, ts, seq, data }) {
    const entry = this.rooms.get(room);
    const isLive = this.client.view.substate !== "resuming" && (!entry || entry.room.view.status === "live");
    if (isLive) this.time(lane, ts, type);
    if (!entry) return; // of the flood
    if (type === "EQUITY_UPDATED" && data) {
      const at = Math.max(ts, entry.points.at(-1)?.at ?? 0);
      entry.points.push({ at, value: Number(data.current_equity) });
      if (entry.points.length > POINTS_MAX) entry.points.shift();
    }
    const status = type === "CHALLENGE_STATUS_CHANGED" ? (data?.new_status ?? null) : STATUS_OF[type];
    // A change to FAILED or FUNDED may be said by an event of its own too: whichever comes second is no news.
    const isTwin = status && TYPE_OF[status] && status === entry.status;
    if (status !== undefined) entry.status = status;
    if (lane === "alert" && seq !== undefined && !isTwin) this.alert({ type, room, ts, data, latencyMs: isLive ? this.latest : null });
  }

  /** How long it took; and what an alert has overtaken, if there is one that just came. */
  time(lane, ts, type) {
    const now = wall();
    this.skew = Math.min(this.skew, now - ts);
    // Clocks of two machines differ: then it is how much longer it took than the fastest of all.
    this.latest = Math.max(0, now - ts - (this.skew < -2 || this.skew > 250 ? this.skew : 0));
    this.lanes[lane].add(now, this.latest);
    if (lane === "alert") this.race = { ts, at: now, ms: this.latest, overtaken: 0, type };
    else if (lane === "metric" && this.race && ts < this.race.ts && now - this.race.at < 3000) this.race.overtaken += 1;
  }

  alert(alert) {
    this.alerts.unshift(alert);
    this.alerts.length = Math.min(this.alerts.length, ALERTS_MAX);
    this.areAlertsChanged = true;
  }

  select(name) {
    for (const entry of this.rooms.values()) entry.row.setAttribute("aria-selected", String(entry.name === name));
    this.selected = this.rooms.get(name) ?? null;
    if (this.selected) this.selected.isChanged = true;
  }

  toggleFlood() {
    const isOn = this.flood.length === 0;
    $("#flood").setAttribute("aria-pressed", String(isOn));
    $("#flood").textContent = isOn ? "Stop the flood" : "Flood with metrics";
    for (const room of this.flood) room.leave();
    this.flood = isOn ? this.floodRooms.map((name) => this.client.room(name, { keep: 0 })) : [];
    if (isOn && !$("#raise").hidden) setTimeout(() => this.raise(), 2500);
  }

  async raise() {
    const challenges = [...this.rooms.values()].filter(({ name }) => name.startsWith("challenge:"));
    const { name } = this.selected ?? challenges[0];
    const data = { challenge_id: name.slice("challenge:".length), severity: "HIGH", message: "A test alert, raised from this page." };
    try {
      await this.client.publish({ type: "RISK_ALERT", data });
    } catch (error) {
      $("#race").textContent = `The alert was refused: ${error.message}`;
    }
  }

  end() {
    this.client.close();
    for (const { row } of this.rooms.values()) row.remove();
  }

  // -- what is shown --

  rowOf(name) {
    const row = $("#book tbody").insertRow();
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name.replace(/^challenge:/, "");
    row.append(head);
    for (const kind of ["", "number", "number", "spark"]) row.insertCell().className = kind;
    row.cells[4].append(document.createElement("canvas"));
    row.tabIndex = 0;
    row.onclick = () => this.select(name);
    row.onkeydown = (event) => event.key === "Enter" && this.select(name);
    return row;
  }

  /** Text as soon as it changes; lines a few times a second, which is as often as they move by a pixel. */
  frame(at) {
    this.colours ??= Object.fromEntries(["line", "quiet", "accent", "good", "bad", ...LANES].map((name) => [name, colour(name)]));
    for (const entry of this.rooms.values()) {
      if (entry.isChanged) this.showRow(entry);
      if (entry.isChanged && entry === this.selected) this.showDetail(entry);
      entry.isChanged = false;
    }
    if (this.areAlertsChanged) this.showAlerts();
    if (at - this.curveAt >= 50) this.drawCurve(at);
    if (at - this.sparksAt >= 400) this.drawSparks(at);
  }

  /** The server's time, as near as we know it. */
  serverNow() {
    return wall() - (Number.isFinite(this.skew) ? this.skew : 0);
  }

  drawSparks(at) {
    this.sparksAt = at;
    const now = this.serverNow();
    for (const { room, row, points } of this.rooms.values()) {
      const start = Number(room.state("EQUITY_UPDATED")?.daily_start_equity ?? NaN);
      const stroke = (points.at(-1)?.value ?? 0) < start ? this.colours.bad : this.colours.good;
      drawLine(row.cells[4].firstChild, points, { now, spanMs: spanOf(points, now), colours: { ...this.colours, stroke } });
    }
  }

  drawCurve(at) {
    this.curveAt = at;
    const now = this.serverNow();
    if (!this.selected) return;
    const start = Number(this.selected.room.state("EQUITY_UPDATED")?.daily_start_equity ?? NaN);
    const { points } = this.selected;
    const options = { now, spanMs: spanOf(points, now), colours: { ...this.colours, stroke: this.colours.accent }, hasScale: true };
    drawLine($("#curve"), points, Number.isNaN(start) ? options : { ...options, mark: start });
  }

  showRow({ room, row, status, name }) {
    const { status: live, error, isLoading } = room.view;
    const equity = room.state("EQUITY_UPDATED");
    const shown = error ? error.name : isLoading ? "joining" : (status ?? (live === "live" ? "" : live));
    setText(row.cells[1], shown.replaceAll("_", " "));
    row.cells[1].title = error?.message ?? "";
    setText(row.cells[2], equity ? grouped(equity.current_equity) : "–");
    setSigned(row.cells[3], today(equity ?? {}));
    row.title = name;
  }

  showDetail({ room, name, status }) {
    const equity = room.state("EQUITY_UPDATED") ?? {};
    setText($("#detail-title"), name.startsWith("challenge:") ? `Challenge ${name.slice(10)}` : name);
    setText($("#detail-status"), status ?? "");
    $("#detail-status").dataset.status = status ?? "";
    const { error, isLoading, staleSince } = room.view;
    setText($("#detail-since"), error?.message ?? (isLoading ? "Loading …" : staleSince ? `as of ${clock(staleSince)}` : ""));
    const figures = [
      ["Equity", equity.current_equity],
      ["Today", today(equity), true],
      ["In all", equity.total_pnl, true],
      ["Peak", equity.max_equity_ever],
      ["Low today", equity.daily_min_equity],
      ["Trades", equity.total_trades],
    ];
    const cells = $("#figures").children.length > 0 ? [...$("#figures").children] : figures.map(() => newFigure());
    figures.forEach(([label, value, isSigned], i) => {
      const [caption, figure] = cells[i].children;
      setText(caption, label);
      if (isSigned) setSigned(figure, value);
      else setText(figure, value === undefined ? "–" : grouped(String(value)));
    });
    const fills = room.view.events.filter(({ type }) => type === "TRADE_EXECUTED").slice(-FILLS_SHOWN).reverse();
    $("#fills tbody").replaceChildren(...fills.map(({ ts, data }) => fillRow(ts, data)));
  }

  showAlerts() {
    const shown = $("#alerts ol");
    const isNew = this.areAlertsChanged === true && shown.childElementCount > 0;
    shown.replaceChildren(...this.alerts.map(alertItem));
    if (isNew) shown.firstElementChild?.classList.add("is-new");
    this.areAlertsChanged = false;
  }

  showLanes() {
    for (const row of $("#lane-rows").rows) {
      const { lane } = row.dataset;
      const { count, perSecond, p50, p99, bins } = this.lanes[lane].look(wall());
      setText(row.cells[1], perSecond.toLocaleString("en-US"));
      setText(row.cells[2], milliseconds(p50));
      setText(row.cells[3], milliseconds(p99));
      const colours = { line: this.colours.line, quiet: this.colours.quiet, lane: this.colours[lane] };
      drawLatencies(row.cells[4].firstChild, bins, colours, lane === "metric");
      row.cells[4].firstChild.setAttribute("aria-label", `${count} events`);
    }
    this.showRace();
  }

  showRace() {
    if (!this.race) return;
    const { ms, overtaken, at } = this.race;
    const when = `${Math.max(0, Math.round((wall() - at) / 1000))} s ago`;
    const { p50 } = this.lanes.metric.look(wall());
    const passed = overtaken > 0 ? `, before ${overtaken.toLocaleString("en-US")} metrics that were accepted earlier` : "";
    const held = p50 === null ? "" : `; half of the metrics take more than ${milliseconds(p50)}, for they are held and batched`;
    const took = Object.assign(document.createElement("b"), { textContent: `${milliseconds(ms)}` });
    $("#race").replaceChildren("The last alert was here ", took, ` after it was accepted${passed} (${when})${held}.`);
  }

  showConnection() {
    const { state, substate, quality, rttMs, reason, retryAt, user, capabilities } = this.client.view;
    if (state === "disconnected" && reason.name !== "close") {
      stop();
      return signIn(reason.text || `The server refused the token (${reason.code || reason.name}).`);
    }
    const names = { connecting: "Connecting", connected: "Live", reconnecting: "Reconnecting", disconnected: "Not connected" };
    const detail = { resuming: "Catching up", degraded: "Live, but slow", offline: "Offline" }[substate];
    $("#connection").dataset.quality = state === "connected" ? quality : state === "reconnecting" ? "lost" : "offline";
    const roundTrip = state === "connected" && rttMs !== null ? ` · ${milliseconds(rttMs)}` : "";
    setText($("#connection span"), (detail ?? names[state]) + roundTrip);
    setText($("#who"), user ?? "");
    document.body.classList.toggle("is-stale", state === "reconnecting");
    const seconds = retryAt === null ? 0 : Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
    const isAway = state === "reconnecting";
    $("#notice").hidden = !isAway && this.missed === 0;
    const lost = `The connection is lost; this is what was true last. ${seconds > 0 ? `Next attempt in ${seconds} s.` : "Trying now."}`;
    const missed = `${this.missed} events could not be recovered after an interruption.`;
    if (!$("#notice").hidden) setText($("#notice"), isAway ? lost : missed);
    $("#flood").hidden = this.floodRooms.length === 0;
    $("#raise").hidden = !capabilities.includes("publish");
    const live = [...this.rooms.values()].filter(({ room }) => room.view.status === "live").length;
    setText($("#book-count"), `${live} of ${this.rooms.size} live`);
  }
}

/** A line begins where it is first known; then it moves. */
const spanOf = (points, now) => Math.min(SPAN_MAX_MS, Math.max(SPAN_MIN_MS, now - (points[0]?.at ?? now)));

// ---- small things ----------------------------------------------------------------------------------------------------

/** Writes only what has changed: the rest of the page is left alone. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setSigned(element, value) {
  setText(element, value === undefined ? "–" : (value.startsWith("-") ? "−" : "+") + grouped(value.replace("-", "")));
  element.classList.toggle("down", value?.startsWith("-") ?? false);
  element.classList.toggle("up", value !== undefined && !value.startsWith("-"));
}

/** What the day has brought, from its beginning on if it is not said: exactly, for both are decimals. */
function today({ daily_pnl: said, current_equity: now, daily_start_equity: start }) {
  if (said !== undefined || ![now, start].every((text) => /^-?\d+(\.\d+)?$/.test(text))) return said;
  const places = Math.max(...[now, start].map((text) => (text.split(".")[1] ?? "").length));
  const units = (text) => {
    const [whole, fraction = ""] = text.split(".");
    return BigInt(whole + fraction.padEnd(places, "0"));
  };
  const change = units(now) - units(start);
  const digits = String(change < 0n ? -change : change).padStart(places + 1, "0");
  const at = digits.length - places;
  return `${change < 0n ? "-" : ""}${digits.slice(0, at)}${places > 0 ? `.${digits.slice(at)}` : ""}`;
}

/** A decimal string with its thousands apart; no digit is changed. */
function grouped(decimal) {
  const [whole, ...fraction] = decimal.split(".");
  return [whole.replace(/\B(?=(\d{3})+$)/g, ","), ...fraction].join(".");
}

function milliseconds(ms) {
  if (ms === null) return "–";
  return ms >= 1000 ? `${(ms / 1000).toFixed(1)} s` : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });

function newFigure() {
  const figure = document.createElement("div");
  figure.append(document.createElement("span"), document.createElement("b"));
  $("#figures").append(figure);
  return figure;
}

function cell(text, className = "") {
  return Object.assign(document.createElement("td"), { textContent: text ?? "", className });
}

function fillRow(ts, { side, quantity, symbol, price, realized_pnl: pnl } = {}) {
  const row = document.createElement("tr");
  const result = cell("", "number");
  setSigned(result, typeof pnl === "string" ? pnl : undefined);
  row.append(cell(clock(ts), "quiet"), cell(side), cell(String(quantity ?? ""), "number"), cell(symbol), cell(price, "number"), result);
  return row;
}

function alertItem({ type, room, ts, data, latencyMs }) {
  const item = document.createElement("li");
  const element = (name, className, text) => Object.assign(document.createElement(name), { className, textContent: text });
  const kind = data?.severity ?? data?.new_status ?? type.replace("CHALLENGE_", "").replaceAll("_", " ");
  const severity = element("span", "severity", kind);
  severity.dataset.severity = kind;
  const title = element("b", "", `${room.replace(/^challenge:/, "")} `);
  const head = document.createElement("span");
  head.append(title, severity);
  const when = element("span", "quiet", `${clock(ts)}${latencyMs === null ? "" : ` · ${milliseconds(latencyMs)}`}`);
  const change = data?.new_status ? `${data.old_status ?? ""} → ${data.new_status}${data.reason ? ` · ${data.reason}` : ""}` : "";
  item.append(head, when, element("p", "", data?.message ?? data?.title ?? (change || data?.reason || type)));
  return item;
}

// Wall time with fractions of a millisecond; set right when the machine slept or its clock was.
let origin = performance.timeOrigin;
function wall() {
  if (Math.abs(Date.now() - origin - performance.now()) > 5) origin = Date.now() - performance.now();
  return origin + performance.now();
}

// ---- it runs ---------------------------------------------------------------------------------------------------------

let desk = null;
let lanesAt = 0;

function start() {
  const session = given();
  $("nav").hidden = !session || !isOperator(session.token);
  if (!session) return signIn("");
  // Who has no room to look at, and may look at the daemon, has come for that.
  if (!$("nav").hidden && !session.rooms && !claimsOf(session.token).rooms) return location.replace("/operator");
  $("#sign-in").hidden = true;
  $("#desk").hidden = false;
  desk = new Desk(session);
  desk.showConnection();
}

function stop() {
  desk?.end();
  desk = null;
  forget();
}

function frame(at) {
  requestAnimationFrame(frame);
  if (!desk) return;
  desk.frame(at);
  if (at - lanesAt < 200) return;
  lanesAt = at;
  desk.showLanes();
  desk.showConnection();
}

for (const lane of LANES) {
  const row = $("#lane-rows").insertRow();
  row.dataset.lane = lane;
  row.append(Object.assign(document.createElement("th"), { scope: "row", textContent: lane }));
  for (const kind of ["number", "number", "number", "plot"]) row.insertCell().className = kind;
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  row.cells[4].append(canvas);
}
$("#flood").onclick = () => desk?.toggleFlood();
$("#raise").onclick = () => desk?.raise();
$("#clear").onclick = () => desk && Object.assign(desk, { alerts: [], areAlertsChanged: "cleared" });
start();
requestAnimationFrame(frame);
