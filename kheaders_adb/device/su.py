"""A su: what it is called and how it takes a command.  Pure."""

from __future__ import annotations

import enum
import re
import shlex
from dataclasses import dataclass

from kheaders_adb.device.script import quote
from kheaders_adb.errors import UsageError

# What is given goes to a shell on the device, quoted.  The pattern keeps out what cannot be meant: blanks,
# quotes, variables, redirections, a second command.
_NAME = r"[A-Za-z0-9_][A-Za-z0-9._+-]*"
_PROGRAM = re.compile(rf"{_NAME}|(?:/{_NAME})+")
_ARGUMENT = re.compile(r"[A-Za-z0-9._+:,=@/-]+")
_MAX_CHARACTERS = 128
"""A script and its su have to fit into one request of an old adbd."""
_SUDO = ("sudo", "doas")


class SuDialect(enum.Enum):
    """How a su takes a command: the value is what follows its name, with the script as one quoted word."""

    DASH_C = "-c {}"  # Magisk, KernelSU, APatch, SuperSU
    UID = "0 sh -c {}"  # AOSP
    NAME = "root sh -c {}"  # AOSP's before it knew numbers
    COMMAND = "sh -c {}"  # what takes a whole command, such as AOSP's behind a user that is given
    SUDO = "-n sh -c {}"  # it must not ask for a password: nobody is there to type it


@dataclass(frozen=True, slots=True)
class SuCommand:
    """A su as the user names it.

    Attributes:
        words: its name or absolute path, and arguments that always come first.
    """

    words: tuple[str, ...] = ("su",)

    @classmethod
    def parse(cls, text: str, source: str = "--su-command") -> SuCommand:
        """What a user wrote: a name or path, maybe with arguments, quoted as for a shell.

        Raises:
            UsageError: it is no name of a program on a device; `source` says where it was given.
        """
        hint = (
            "give a name such as kp or sudo, or an absolute path on the device, and plain arguments"
        )
        try:
            words = tuple(shlex.split(text))
        except ValueError as error:
            raise UsageError(f"{source}: {text!r}: {error}", hint=hint) from error
        if not words or not _PROGRAM.fullmatch(words[0]):
            raise UsageError(f"{source}: {text!r} does not name a program", hint=hint)
        for word in words[1:]:
            if not _ARGUMENT.fullmatch(word):
                raise UsageError(f"{source}: {word!r} is no argument that su takes", hint=hint)
        if len(text) > _MAX_CHARACTERS:
            raise UsageError(f"{source}: more than {_MAX_CHARACTERS} characters", hint=hint)
        return cls(words)

    def __str__(self) -> str:
        """As it was given."""
        return shlex.join(self.words)

    @property
    def dialects(self) -> tuple[SuDialect, ...]:
        """The dialects that it may speak, in the order in which they are safe to try.

        ``-c`` comes first: AOSP's su, which knows only the next two, rejects it at once and silently, while
        Magisk's and its like would take ``0`` for a user and start an interactive shell.
        """
        if self.words[0].rpartition("/")[2] in _SUDO:
            return (SuDialect.SUDO,)
        if len(self.words) > 1:
            return (SuDialect.DASH_C, SuDialect.COMMAND)
        dialects = (SuDialect.DASH_C, SuDialect.UID, SuDialect.NAME)
        return dialects if self == SuCommand() else (*dialects, SuDialect.COMMAND)


@dataclass(frozen=True, slots=True)
class Su:
    """A su in one dialect.

    Attributes:
        command: which su.
        dialect: how it takes a command.
        encoder: what writes binary output in base64, for a su that runs its command on a terminal; or empty.
    """

    command: SuCommand
    dialect: SuDialect
    encoder: str = ""

    def run(self, script: str) -> str:
        """The command line that lets it run a script."""
        words = " ".join(map(quote, self.command.words))
        return f"{words} {self.dialect.value.format(quote(script))}"
