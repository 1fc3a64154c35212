// An insurance quote that is being calculated, and its agent's notifications, of which some have to be acknowledged: they come again, on whichever page the
// agent opens, until that is done.

import { connect } from "../client.js";
import { element, $, showConnection } from "./page.js";
import { id, token, url, user } from "./session.js";

const client = connect({ url, token });
const quote = client.room(`quote:${id}`, { history: 20 });
const own = client.room(`user:${encodeURIComponent(user)}`);
showConnection(".connection", client, quote);

quote.on("view", () => {
  const { premium, status } = quote.state("quote_state") ?? {};
  $("#premium").textContent = premium ?? "–";
  $("#status").textContent = status ?? "";
  const { progress = 0, stage = "" } = quote.state("calculation_progress") ?? {};
  $("#progress").value = progress;
  $("#stage").textContent = progress === 100 ? "done" : stage;
  const changes = quote.view.events.filter(({ type }) => type === "quote_update").slice(-8).reverse();
  $("#changes").replaceChildren(
    ...changes.map(({ data: { update } }) => element("li", `${update.field}: ${update.old_value} → ${update.new_value} (${update.updated_by})`)),
  );
});

const waiting = new Map(); // event_id → notification
own.on("event", (event) => {
  if (event.type !== "notification") return;
  waiting.set(event.event_id, event);
  show();
});

async function acknowledge(event) {
  await client.ack(event); // once this is over, the server has it
  waiting.delete(event.event_id);
  show();
}

function show() {
  const entry = (event) => {
    const button = element("button", "Acknowledge");
    button.onclick = () => acknowledge(event).catch((error) => button.replaceWith(element("span", error.message, { class: "error" })));
    return element("li", [element("b", event.data.title), ` ${event.data.message} `, button]);
  };
  $("#notifications").replaceChildren(...[...waiting.values()].map(entry));
}
