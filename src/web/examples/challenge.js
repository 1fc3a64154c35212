// A prop-trading challenge, live, in React: one hook has all of it.
//
// The challenge's owner alone may see it: the token names the user, and the daemon knows the owner from the first event with `user_id`.

import { createElement as h } from "react";
import { createRoot } from "react-dom/client";

import { useLiveChallenge } from "../react.js";
import { id, token, url } from "./session.js";

const FIGURES = [
  ["Equity", (equity) => equity.current_equity],
  ["Today", today],
  ["Total", (equity) => equity.total_pnl],
  ["Highest ever", (equity) => equity.max_equity_ever],
  ["Trades", (equity) => equity.total_trades],
];

/** As the backend says it; where the daemon makes the numbers (`[analytics]`), from the day's beginning on. Both are decimals with as many places. */
function today({ daily_pnl: said, current_equity: now, daily_start_equity: start }) {
  if (said !== undefined || now === undefined || start === undefined) return said;
  return (now - start).toFixed(now.split(".")[1]?.length ?? 0);
}

function Challenge({ id }) {
  const { equityData, statusData, riskAlerts, isConnected, isLoading, staleSince, quality, error, refresh, clearAlerts } = useLiveChallenge(id, token, { url });
  const connection = error ?? (isLoading ? "loading" : isConnected ? "live" : "reconnecting");
  return h(
    "main",
    { className: staleSince === null ? "" : "stale" },
    h(
      "header",
      null,
      h("h1", null, `Challenge ${id}`),
      h("span", { className: "status" }, statusData?.new_status ?? "ACTIVE"),
      h("span", { className: "connection", "data-quality": quality, role: "status" }, connection),
      h("button", { onClick: refresh }, "Refresh"),
    ),
    h("section", { className: "figures" }, FIGURES.map(([name, of]) => h("div", { key: name }, h("span", null, name), h("b", null, of(equityData ?? {}) ?? "–")))),
    h(
      "section",
      null,
      h("h2", null, "Alerts ", h("button", { onClick: clearAlerts }, "Clear")),
      h("ol", null, riskAlerts.map(({ id, severity, message }) => h("li", { key: id }, h("b", { className: severity }, severity), " ", message))),
      riskAlerts.length === 0 && h("p", { className: "quiet" }, "None so far."),
    ),
  );
}

createRoot(document.querySelector("#root")).render(h(Challenge, { id }));
