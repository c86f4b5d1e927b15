"""The errors a user can cause, each with the exit status that the commands leave with.

The message is the one line a person sees: what was wrong, the value, the remedy.
"""


class FastnstError(Exception):
    """Base of the errors that end a command with one line on stderr instead of a traceback."""

    exit_status = 1


class ConfigError(FastnstError):
    """A setting is missing, unknown or out of range."""

    exit_status = 2


class InputError(FastnstError):
    """An input file (video, image, checkpoint, folder of photos) cannot be read."""

    exit_status = 3


class OutputError(FastnstError):
    """An output cannot be written, or exists already."""

    exit_status = 4


class EnvironmentFault(FastnstError):
    """The machine lacks what was asked for: an encoder, a GPU, memory, the loss network's weights."""

    exit_status = 5


class DamagedInput(FastnstError):
    """The input was damaged; what could be read was stylized and kept."""

    exit_status = 6


class Diverged(FastnstError):
    """Training met non-finite losses several steps in a row."""

    exit_status = 7


class DoesNotHold(FastnstError):
    """A figure on the card of a net is not what is found."""

    exit_status = 8
