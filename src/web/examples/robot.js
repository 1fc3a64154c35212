// A trading robot's dashboard: account, positions, trades, risk metrics, alerts. What it shows stays when the connection goes, and over a reload
// (IndexedDB), with the time at which it was true. Money is never made a number: the robot's own decimals are shown.

import { connect } from "../client.js";
import { element, figures, fill, $, showConnection } from "./page.js";
import { id, token, url, user } from "./session.js";

const client = connect({ url, token, cache: `robot ${user}` });
const room = client.room(`account:${id}`, { delta: true, history: 20 });
showConnection(".connection", client, room);

const newest = (types, count) => room.view.events.filter(({ type }) => types.includes(type)).slice(-count).reverse();
const timeOf = ({ ts }) => new Date(ts).toLocaleTimeString();

room.on("view", () => {
  const account = room.state("account.update");
  figures("#account", [["Equity", account?.equity], ["Cash", account?.cash], ["Buying power", account?.buying_power], ["P&L today", account?.daily_pnl]]);
  const metrics = room.state("metrics.update");
  figures("#metrics", [["Sharpe ratio", metrics?.sharpe_ratio], ["Win rate", metrics?.win_rate], ["Largest drawdown", metrics?.max_drawdown], ["VaR 95 %", metrics?.var_95]]);
  const positions = room.view.states.filter(({ type }) => type === "position.update").map(({ data }) => data);
  fill("#positions", positions.map(({ symbol, quantity, price, unrealized_pnl }) => [symbol, quantity, price, unrealized_pnl]));
  fill("#trades", newest(["trade.executed"], 8).map((event) => [timeOf(event), event.data.symbol, event.data.side, event.data.quantity, event.data.price]));
  const alert = (event) => element("li", [element("b", event.data.severity, { class: event.data.severity }), ` ${event.data.message} `, element("time", timeOf(event))]);
  $("#alerts").replaceChildren(...newest(["risk.alert", "error.occurred"], 5).map(alert));
});
