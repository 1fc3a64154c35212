"""The events of a big desk: which of them the publisher sends, and which of them each client must therefore get.

A desk has so many challenges, published to in turn. Of the ten turns of a challenge one is a `RISK_ALERT` (another one for each
challenge, so that alerts are spread over time) and nine are an `EQUITY_UPDATED`. Every line to publish has 300 bytes. All of it
follows from the number of the event, so that publisher and clients, in processes of their own, need not talk to agree.
"""

TURNS = 10
LINE_BYTES = 300
ALERT, STATE = "RISK_ALERT", "EQUITY_UPDATED"
LANES = {ALERT: "alert", STATE: "update"}


class Desk:
    """So many challenges, of which challenge `i` has the room `challenge:i` and the owner `ui`."""

    def __init__(self, challenges):
        self.challenges = challenges

    def line(self, event):
        """The line that publishes event number `event`, counted from 0."""
        turn, challenge = divmod(event, self.challenges)
        alerts, states = self._before(challenge, turn)
        kind, number = (ALERT, alerts + 1) if is_alert(challenge, turn) else (STATE, states + 1)
        return f'{{"type":"{kind}","data":{data_of(kind, challenge, number)}}}\n'.encode()

    def published(self, challenge, events):
        """How many alerts and how many states of a challenge are among the first `events` events."""
        return self._before(challenge, (events - challenge + self.challenges - 1) // self.challenges)

    @staticmethod
    def _before(challenge, turns):
        alerts = max(0, (turns - first_alert(challenge) + TURNS - 1) // TURNS)
        return alerts, turns - alerts


def first_alert(challenge):
    return -challenge % TURNS


def is_alert(challenge, turn):
    return turn % TURNS == first_alert(challenge)


def data_of(kind, challenge, number):
    """`data` of a challenge's alert or state of that number, counted from 1: its `seq` or `rev`."""
    start = f'{{"challenge_id":"{challenge}","user_id":"u{challenge}","n":{number},"equity":"{number}.00","padding":"'
    return start + "x" * (LINE_BYTES - len(f'{{"type":"{kind}","data":}}\n') - len(start) - 2) + '"}'
