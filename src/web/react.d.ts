// Types of react.js, tickerd's hooks for React 18 or newer.

import type { ReactElement, ReactNode } from "react";
import type { Answer, Client, ClientOptions, ClientView, Quality, RoomEvent, RoomOptions, RoomView } from "./client.js";

/** Gives its client to the hooks below it. Whoever made the client closes it. */
export function TickerdProvider(props: { client: Client; children?: ReactNode }): ReactElement;

export function useClient(): Client;

export function useConnection(): ClientView & { readonly isConnected: boolean };

export interface LiveRoom extends RoomView {
  /** The newest `data` of a state; without a key, of the first of that type. */
  state<Data = any>(type: string, key?: string): Data | undefined;
  refresh(): Promise<void>;
  ack(event: Pick<RoomEvent, "room" | "lane" | "seq" | "event_id">): Promise<Answer | undefined>;
}

export function useRoom(name: string, options?: RoomOptions): LiveRoom;

/** Money and percentages are decimal strings. */
export interface EquityData {
  challenge_id: string;
  user_id: string;
  current_equity: string;
  [member: string]: any;
}

export interface RiskAlert {
  /** The alert's own, or its number in the room. */
  id: string | number;
  severity?: string;
  [member: string]: any;
}

export interface LiveChallenge {
  readonly equityData: EquityData | null;
  /** Of the last change of status. */
  readonly statusData: { [member: string]: any } | null;
  /** The newest ten, newest first. */
  readonly riskAlerts: readonly RiskAlert[];
  readonly isConnected: boolean;
  /** Nothing is there to be shown yet. */
  readonly isLoading: boolean;
  /** What is shown was true at this time, Unix milliseconds; null while it is live. */
  readonly staleSince: number | null;
  readonly quality: Quality;
  readonly error: string | null;
  /** Asks for everything anew. */
  refresh(): Promise<void>;
  clearAlerts(): void;
}

export function useLiveChallenge(
  challengeId: string | null | undefined,
  token: ClientOptions["token"] | null | undefined,
  options?: { url?: string; shared?: boolean },
): LiveChallenge;
