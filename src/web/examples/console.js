// A prediction-market trader's console: its activity with the last 20 entries for whoever comes late, the account in cents, the queue of large trades
// with the decision on each as it is made, and the health of its parts.

import { connect } from "../client.js";
import { element, figures, fill, $, showConnection } from "./page.js";
import { token, url } from "./session.js";

const client = connect({ url, token });
const room = client.room("console:main"); // the catalog keeps 20 of `system_activity` for it
showConnection(".connection", client, room);

// The queue is a state that may be a moment old when a decision is told: decisions are kept beside it.
const decisions = new Map();
room.on("event", ({ type, data }) => {
  if (type !== "whale_processing") return;
  decisions.set(data.whale_id, data.status === "complete" ? data.action : "…");
  if (decisions.size > 100) decisions.delete(decisions.keys().next().value);
});

/** Whole cents, exactly. */
function dollars(cents) {
  if (cents === undefined) return undefined;
  const digits = String(Math.abs(cents)).padStart(3, "0");
  return `${cents < 0 ? "-" : ""}${digits.slice(0, -2)}.${digits.slice(-2)}`;
}

room.on("view", () => {
  const trading = room.state("trading_state");
  figures("#trading", [
    ["Balance", dollars(trading?.balance)],
    ["Portfolio", dollars(trading?.portfolio_value)],
    ["Session P&L", dollars(trading?.pnl?.session_pnl)],
    ["Positions", trading?.position_count],
    ["Orders", trading?.order_count],
  ]);
  const whales = room.state("whale_queue")?.queue ?? [];
  fill("#whales", whales.map((whale) => [whale.market_ticker, whale.side, `${whale.price_cents} ¢`, whale.count, whale.whale_size_dollars, decisions.get(whale.whale_id) ?? ""]));
  const activity = room.view.events.filter(({ type }) => type === "system_activity").slice(-20).reverse();
  $("#activity").replaceChildren(
    ...activity.map(({ ts, data }) => element("li", [element("time", new Date(ts).toLocaleTimeString()), " ", element("span", data.message, { class: data.metadata?.severity ?? "" })])),
  );
  const status = room.state("trader_status");
  $("#state").textContent = status?.state ?? "";
  figures("#health", Object.entries(status?.metrics ?? {}).slice(0, 8));
});
