"""What can go wrong when a message is sent, told apart by what to do about it."""

from collections.abc import Sequence


class EmailError(Exception):
    """A message could not be sent."""


class TransientEmailError(EmailError):
    """Nobody got the message as far as is known, and a later attempt may work: send it again."""


class PermanentEmailError(EmailError):
    """Another attempt would fail the same way: correct the settings or the address."""


class PartialRefusalError(PermanentEmailError):
    """Some recipients were refused while the others have the message by now.

    Do not send the message again: send `message.only_to(error.deferred)` later. `deferred` are
    those whom the server may accept later (4xx), `refused` those whom it does not accept (5xx).
    """

    def __init__(self, reason: str, deferred: Sequence[str], refused: Sequence[str]) -> None:
        super().__init__(reason, deferred, refused)  # all of them, or it could not be pickled
        self.reason = reason
        self.deferred = tuple(deferred)
        self.refused = tuple(refused)

    def __str__(self) -> str:
        return self.reason
