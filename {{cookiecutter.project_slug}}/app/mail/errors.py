"""What can go wrong when a message is sent, told apart by what to do about it."""


class TransientEmailError(Exception):
    """Nobody got the message as far as is known, and a later attempt may work: send it again."""


class PermanentEmailError(Exception):
    """Another attempt would fail the same way: correct the cause."""
