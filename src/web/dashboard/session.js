// Whose page it is: a token comes by the form, or in the part of the address behind `#`, which no server sees. It stays in the tab.

const KEPT = "tickerd";

/** What the address brought, or the form: `token`, `rooms`, `flood`. Nothing of it stays in the address. */
export function given() {
  const inAddress = new URLSearchParams(location.hash.slice(1));
  if (inAddress.has("token")) {
    keep(Object.fromEntries(inAddress));
    history.replaceState(null, "", location.pathname);
  }
  return JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
}

export const keep = (session) => sessionStorage.setItem(KEPT, JSON.stringify(session));

export const forget = () => sessionStorage.removeItem(KEPT);

/** What a token says of itself; the server alone checks it. */
export function claimsOf(token) {
  try {
    const bytes = Uint8Array.from(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) ?? {};
  } catch {
    return {};
  }
}

/** Whether a token opens the operator's view. */
export const isOperator = (token) => String(claimsOf(token).scope ?? "").split(" ").includes("admin");
