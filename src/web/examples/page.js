// What the pages without a framework have in common. Text from the server is put in as text, never as markup.

export const $ = (selector) => document.querySelector(selector);

/** An element with text, or with children. */
export function element(name, content = "", attributes = {}) {
  const made = document.createElement(name);
  made.append(...(Array.isArray(content) ? content : [content]));
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  return made;
}

/** The rows of a table's body, each a list of cells, which stand as their heads do. Decimals stay the strings that they are. */
export function fill(selector, rows) {
  const kinds = [...$(selector).parentElement.tHead.rows[0].cells].map((head) => head.className);
  const cell = (value, at) => element("td", shown(value), { class: `${kinds[at]} ${sign(value)}` });
  $(selector).replaceChildren(...rows.map((cells) => element("tr", cells.map(cell))));
}

/** Names and values, side by side. */
export function figures(selector, pairs) {
  $(selector).replaceChildren(...pairs.map(([name, value]) => element("div", [element("span", name), element("b", shown(value), { class: sign(value) })])));
}

const shown = (value) => String(value ?? "–");
const sign = (value) => (/^-\d/.test(value) ? "down" : "");

/** Shows in `selector` what the connection is like, and since when what is shown is old. */
export function showConnection(selector, client, room) {
  const show = () => {
    const { state, substate, quality, retryAt, reason } = client.view;
    const { staleSince, error } = room.view;
    const wait = retryAt === null ? "" : `, again in ${Math.max(0, Math.ceil((retryAt - Date.now()) / 1000))} s`;
    const why = state === "disconnected" && reason?.name !== "close" ? `: ${reason?.text || reason?.code || ""}` : "";
    $(selector).textContent = error?.message ?? `${substate ?? state}${wait}${why}`;
    $(selector).dataset.quality = quality;
    document.body.classList.toggle("stale", staleSince !== null);
    $("header").dataset.since = staleSince === null ? "" : `as of ${new Date(staleSince).toLocaleTimeString()}`;
  };
  client.on("view", show);
  room.on("view", show);
  setInterval(show, 1000);
  show();
}
