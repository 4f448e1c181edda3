"""A phone on a cable, by Android's own adb: found, asked, and given files."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence

from kerascnn.errors import InputError

# Where Google's own benchmark tools keep their files: apps may read there, and adb may write.
FOLDER = "/data/local/tmp/kerascnn"
# A phone that answers nothing for so long is asleep behind a broken cable.
_PATIENCE_S = 60
# What adb says, before whatever it adds, when the phone went away meanwhile.
_GONE = re.compile(
    r"device '[^']*' not found|no devices/emulators found|device offline|device unauthorized"
    r"|error: closed|protocol fault|connection reset|device still authorizing|Broken pipe"
)
_MENDING = {
    "unauthorized": "does not allow this computer yet: unlock it and tap Allow on what it asks, "
    "then repeat the command (nothing asked: adb kill-server, and plug it in again)",
    "authorizing": "is about to ask whether it allows this computer: unlock it, tap Allow, and "
    "repeat the command",
    "offline": "is offline: plug it in again, or run: adb reconnect",
    "no permissions": "may not be opened by this user: install the rules for it (Debian, Ubuntu: "
    "apt install android-sdk-platform-tools-common; log out and in again), then: adb kill-server",
}


class Lost(Exception):
    """The phone went away while it was asked; it may come back."""


class Failed(Exception):
    """A command on the phone failed; the text is what it said."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attached:
    """A line of `adb devices`.

    Attributes:
        state: "device" where it can be asked.
        model: as adb calls it; empty where it does not tell.
    """

    serial: str
    state: str
    model: str = ""

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.serial} ({self.model})" if self.model else self.serial


def find_adb() -> str:
    """Path of the program: on the PATH, or where Android Studio puts it.

    Raises:
        InputError: there is none; it says how to get it.
    """
    name = "adb.exe" if os.name == "nt" else "adb"
    if found := shutil.which("adb"):
        return found
    home = pathlib.Path.home()
    sdks = [os.environ.get("ANDROID_HOME"), os.environ.get("ANDROID_SDK_ROOT")]
    sdks += [str(home / "Android/Sdk"), str(home / "Library/Android/sdk")]
    for sdk in sdks:
        path = pathlib.Path(sdk or "") / "platform-tools" / name
        if sdk and path.is_file():
            return str(path)
    raise InputError(
        "there is no adb on this machine; install it: apt install adb (Debian, Ubuntu), "
        "brew install android-platform-tools (macOS), or Android Studio's SDK Platform-Tools"
    )


def attached(adb: str) -> list[Attached]:
    """All that adb sees, in its order.

    Raises:
        InputError: adb itself fails.
    """
    done = subprocess.run(
        [adb, "devices", "-l"], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        raise InputError(f"adb devices fails: {_last_line(done.stderr or done.stdout)}")
    found = []
    for line in done.stdout.splitlines():
        # "SERIAL  no permissions (user is not in the group plugdev); see [...]"
        match = re.match(r"(\S+)\s+(no permissions|[a-z]+)\b(.*)", line)
        if not match or line.startswith(("List of", "*", "adb ")):
            continue
        model = re.search(r"\bmodel:(\S+)", match[3])
        model_name = model[1].replace("_", " ") if model else ""
        found.append(Attached(serial=match[1], state=match[2], model=model_name))
    return found


def choose(adb: str, serial: str | None) -> Phone:
    """The phone that was named, or the only one.

    Raises:
        InputError: none, several, another one, or one that cannot be asked yet; it says what to do.
    """
    found = attached(adb)
    if not found:
        raise InputError(
            "adb sees no phone: plug it in, turn on USB debugging (Settings, Developer options), "
            "and tap Allow on the phone; adb devices then lists it"
        )
    names = ", ".join(one.label for one in found)
    if serial is not None:
        found = [one for one in found if one.serial == serial]
        if not found:
            raise InputError(f"adb sees no {serial!r}; there is {names}: --device SERIAL")
    ready = [one for one in found if one.state == "device"]
    if len(ready) > 1:
        raise InputError(f"adb sees several phones: {names}; name one: --device {ready[0].serial}")
    if not ready:
        one = found[0]
        mend = _MENDING.get(one.state, "cannot be asked: start Android on it")
        raise InputError(f"{one.label} is {one.state}: it {mend}")
    return Phone(adb, ready[0].serial)


class Phone:
    """One phone. Every call raises `Lost` where the phone went away.

    Args:
        adb: path of the program.
        serial: of the phone.
    """

    def __init__(self, adb: str, serial: str) -> None:
        self._adb, self.serial = adb, serial

    @property
    def is_there(self) -> bool:
        """Whether it can be asked now."""
        return any(
            one.serial == self.serial and one.state == "device" for one in attached(self._adb)
        )

    def shell(self, *words: str, patience: float | None = _PATIENCE_S) -> str:
        """Run a command on the phone; what it printed on stdout.

        Args:
            words: are quoted for the phone's shell.
            patience: seconds until it counts as lost; None: for ever.

        Raises:
            Failed: it ended with another exit code than 0.
        """
        return self.script(shlex.join(words), patience=patience)

    def script(self, line: str, *, patience: float | None = _PATIENCE_S) -> str:
        """As `shell`, of a line for the phone's shell."""
        return self._run(["shell", line], patience).stdout

    def both(self, *words: str) -> str:
        """As `shell` without a limit of time; stdout and stderr in one."""
        return self.script(f"{shlex.join(words)} 2>&1", patience=None)

    def property(self, name: str) -> str:
        """Of Android; empty where it has no such one."""
        return self.shell("getprop", name).strip()

    def size(self, path: str) -> int | None:
        """Bytes of a file on the phone; None where there is none."""
        printed = self.script(f"stat -c %s {shlex.quote(path)} 2>/dev/null || true").strip()
        return int(printed) if printed.isdecimal() else None

    def push(self, source: pathlib.Path, target: str) -> bool:
        """Put a file there, whole or not at all, unless one of that size is there.

        `target` must name the content, as by its digest.

        Returns:
            Whether it was sent.

        Raises:
            Failed: there is no room, or no such folder.
        """
        if self.size(target) == source.stat().st_size:
            return False
        folder = target.rpartition("/")[0]
        # Readable by the app, whatever the shell's umask.
        self.script(f"mkdir -p {shlex.quote(folder)} && chmod 755 {shlex.quote(folder)}")
        partial = f"{target}.part"
        self._run(["push", str(source), partial], None)
        if (sent := self.size(partial)) != source.stat().st_size:
            raise Failed(f"{sent} of {source.stat().st_size} bytes of {source} came to the phone")
        self.script(f"chmod 644 {shlex.quote(partial)} && mv {_both(partial, target)}")
        return True

    def _run(
        self, words: Sequence[str], patience: float | None
    ) -> subprocess.CompletedProcess[str]:
        try:
            done = subprocess.run(
                [self._adb, "-s", self.serial, *words],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                check=False, timeout=patience,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Lost(f"no answer within {patience:g} s") from None
        if done.returncode:
            said = done.stderr.strip() or done.stdout.strip()
            if _GONE.search(said):
                raise Lost(_last_line(said))
            raise Failed(_last_line(said) or f"exit code {done.returncode}")
        return done


def _both(one: str, other: str) -> str:
    return f"{shlex.quote(one)} {shlex.quote(other)}"


def _last_line(text: str) -> str:
    """What a program says last is why it ended."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
