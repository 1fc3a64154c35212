// Where the daemon is, and who is looking. In these examples both come in the address, behind `#`, which no server sees:
//
//     challenge.html#id=8f&server=127.0.0.1:8080&token=eyJ…
//
// A page of yours asks its own backend, which knows who is signed in, and is asked again before a token expires:
//
//     export const token = () => fetch("/session/token").then((answer) => answer.text());

const given = new URLSearchParams(location.hash.slice(1));

export const url = `${location.protocol === "https:" ? "wss" : "ws"}://${given.get("server") ?? "127.0.0.1:8080"}/v1/ws`;
export const token = given.get("token");
export const id = given.get("id");

/** Who the token is for. What it says of itself is for show: the daemon checks it. */
export const user = JSON.parse(atob(token?.split(".")[1].replaceAll("-", "+").replaceAll("_", "/") ?? "e30")).sub;
