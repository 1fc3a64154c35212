// What a page in TypeScript writes: it has to compile, and what is wrong must not. `types.test.js` runs the compiler.

import { connect, mergePatch, type Client, type Gap, type RoomEvent } from "../../src/web/client.js";
import { useConnection, useLiveChallenge, useRoom } from "../../src/web/react.js";

const client: Client = connect({ url: "wss://push.example/v1/ws", token: async (why) => (why === "revoked" ? null : "token"), cache: "u1", shared: true });
const room = client.room("challenge:8f", { delta: true, history: 20, keep: 10, everyMs: 5_000, types: ["EQUITY_UPDATED"], keys: ["8f"] });
const end: () => void = room.on("event", (event: RoomEvent<{ severity: string }>) => event.data.severity.toLowerCase());
room.on("gap", (gap: Gap) => gap.to ?? gap.from);
room.on("view", () => room.view.states.map((state) => state.data));
const checked: Promise<{ matches: boolean | null }> = room.verify();
client.on("error", (error) => error.message);
const equity: { current_equity: string } | undefined = room.state("EQUITY_UPDATED");
const answer: Promise<{ seq?: number }> = client.publish({ type: "note", room: "r", lane: "alert", mode: "stream", data: { a: [1, null] } });
const isGood: boolean = client.view.quality === "good" && client.view.substate !== "offline";
mergePatch({ a: 1 }, { a: null });

export function Page() {
  const { equityData, statusData, riskAlerts, isConnected, error, refresh, clearAlerts, isLoading, quality } = useLiveChallenge("8f", "token");
  const all: [string | undefined, object | null, number, boolean, string | null, boolean, string] = [
    equityData?.current_equity,
    statusData,
    riskAlerts.length,
    isConnected,
    error,
    isLoading,
    quality,
  ];
  void refresh().then(clearAlerts);
  return [useConnection().isConnected, useRoom("r", { delta: true }).ack({ room: "r", lane: "alert", seq: 1 }), all];
}

// @ts-expect-error a lane that there is not
client.publish({ type: "note", lane: "urgent", data: null });
// @ts-expect-error an event that nobody emits
room.on("message", () => {});
// @ts-expect-error without a token nobody gets in
connect({});
// @ts-expect-error states are compared with what they can be
client.state === "open";

export { end, equity, answer, isGood };
