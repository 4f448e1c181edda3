"""An adb whose phone is a folder: it keeps a list of calls, and plays what happens to a phone.

`FakePhone.bin` has an executable of that name for the PATH; `FakePhone.run` is the same without a
process of its own, in the place of `subprocess.run`. Lines for the phone's shell are run by this
machine's own, so that quoting counts; what Android has beside it (pm, am, run-as, pidof, getprop)
are scripts of a line or two here, and the app is a few lines that write what RunActivity.kt writes.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

APP = "org.kerascnn.demo"
ROOT = "/data/local/tmp"
PIXEL = "P1 device product:panther model:Pixel_7 device:panther transport_id:1"
GONE = "error: device 'P1' not found"
# Each begins in the phone's folder; what is so is a file in `is`.
_TOOLS = {
    "pm": f'[ "$1 $2" = "path {APP}" ] && [ -e is/app ] && echo package:/data/app/base.apk',
    "run-as": (
        f'[ "$1" = {APP} ] && [ -e is/debuggable ] || '
        '{ echo "run-as: package not debuggable: $1" >&2; exit 1; }; shift; cd app; "$@"'
    ),
    "pidof": "[ -e is/alive ] && echo 4711",
    "input": "true",
    "am": (
        'if [ "$1" = force-stop ]; then rm -f is/alive; '
        'elif [ -e is/activity ]; then echo "Starting: Intent { cmp=x/y }"; '
        'printf "%s\\n" "$@" > started; touch is/alive; '
        'else echo "Error type 3"; echo "Error: Activity class {x/y} does not exist."; exit 1; fi'
    ),
    "getprop": (
        "case $1 in ro.product.manufacturer) echo Google;; ro.product.model) echo Pixel 7;; "
        "ro.build.version.release) echo 14;; ro.hardware) echo panther;; *) echo;; esac"
    ),
}
_FLAGS = ("app", "debuggable", "activity", "alive")


class FakePhone:
    """A phone on a cable, and all that a test looks at.

    Args:
        folder: for its files, the list of calls and its state.
        columns: of the app's table.
    """

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        self.folder = folder
        self.bin, tools = folder / "bin", folder / "tools"
        for path in (self.bin, tools, folder / "root", folder / "app", folder / "is"):
            path.mkdir(parents=True)
        here = Path(__file__).resolve()
        line = f'exec "{sys.executable}" -S "{here}" "{folder}" "$@"'
        _executable(self.bin / "adb", line)
        for name, line in _TOOLS.items():
            _executable(tools / name, f'cd "{folder}"\n{line}')
        self.set(
            devices=[PIXEL], columns=list(columns), app=True, debuggable=True, activity=True,
            alive=False, looks=0, latency=12.5, crashes=[], fails=[], leaves=False, pulled=None,
            pulled_after="", away=0,
        )  # fmt: skip

    def set(self, **changes: Any) -> None:
        """Change what is so.

        `devices`: lines of `adb devices -l`; `app`, `debuggable`, `activity`: what the phone has;
        `crashes` and `fails`: digests of files that end the app, or that it cannot open; `leaves`:
        whether it leaves the screen; `pulled`: in how many calls the cable is pulled, or
        `pulled_after`: after a call with that word; `away`: for how many calls of `adb devices`.
        """
        for name in _FLAGS:
            if name in changes:
                path = self.folder / "is" / name
                path.touch() if changes.pop(name) else path.unlink(missing_ok=True)
        path = self.folder / "state.json"
        state = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(state | changes))

    def run(self, words: Sequence[str], **_options: object) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` of adb."""
        return Acting(self.folder).adb(words[1:])

    def go_on(self) -> None:
        """Let the app do what it has to do, seen or not."""
        for _ in range(2):
            Acting(self.folder).advance()

    @property
    def calls(self) -> list[str]:
        """All calls of adb, a line each."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def told(self, word: str) -> list[str]:
        """Calls with that word in them."""
        return [call for call in self.calls if word in call]

    @property
    def files(self) -> set[str]:
        """Names in the folder where files go."""
        return {path.name for path in (self.folder / "root" / "kerascnn").glob("*")}


def _executable(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


class Acting:
    """One call of adb."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state: dict[str, Any] = json.loads((folder / "state.json").read_text())

    def adb(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        with (self.folder / "calls").open("a") as file:
            file.write(" ".join(words).replace("\n", " ") + "\n")
        if words[0] == "devices":
            return self._done(words, 0, self._devices())
        serial, what, *rest = words[1:]
        if self._is_away():
            return self._done(words, 1, "", GONE)
        assert serial in [line.split()[0] for line in self.state["devices"]]
        if what == "push":
            return self._done(words, *self._push(*rest))
        return self._shell(rest[0])

    def _done(
        self, words: Sequence[str], code: int, out: str, err: str = ""
    ) -> subprocess.CompletedProcess[str]:
        word = self.state["pulled_after"]
        if word and any(word in one for one in words):
            self.state |= {"pulled": 0, "pulled_after": ""}
        (self.folder / "state.json").write_text(json.dumps(self.state))
        return subprocess.CompletedProcess(words, code, out, err)

    def _devices(self) -> str:
        listed = self.state["devices"]
        if self.state["pulled"] == 0:
            if self.state["away"] > 0:
                self.state["away"] -= 1
                listed = []
            else:
                self.state["pulled"] = None
        return "\n".join(["* daemon started", "List of devices attached", *listed, ""])

    def _is_away(self) -> bool:
        if self.state["pulled"]:
            self.state["pulled"] -= 1
        return self.state["pulled"] == 0

    def _real(self, text: str) -> str:
        return text.replace(ROOT, str(self.folder / "root"))

    def _push(self, source: str, target: str) -> tuple[int, str, str]:
        data = Path(source).read_bytes()
        # A cable that is pulled by then leaves a half.
        half = self.state["pulled"] == 1
        Path(self._real(target)).write_bytes(data[: len(data) // 2] if half else data)
        if not half:
            return 0, "1 file pushed", ""
        self.state["pulled"] = 0
        return 1, "", f"adb: error: failed to copy: {GONE}"

    def _shell(self, line: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder / 'tools'}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-c", self._real(line)], env={**os.environ, "PATH": path},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        started = self.folder / "started"
        if started.exists():
            words = started.read_text().splitlines()
            started.unlink()
            # am start -n x/y --es name value ...
            self.state["extras"] = {words[i + 1]: words[i + 2] for i in range(3, len(words), 3)}
            self.state["looks"] = 0
            self._status("running", text="loading")
        elif "status.json" in line and " cat " in line:
            self.advance()
        return self._done([line], done.returncode, done.stdout, done.stderr)

    # The app.

    def _status(self, state: str, **more: Any) -> None:
        place = self.folder / "app" / "files" / "phone"
        place.mkdir(parents=True, exist_ok=True)
        told = {"batch": self.state["extras"]["batch"], "state": state, **more}
        (place / "status.json").write_text(json.dumps(told))

    def advance(self) -> None:
        """A second later: the first look finds it at work, the second one at the end."""
        alive = self.folder / "is" / "alive"
        if not alive.exists():
            return
        self.state["looks"] += 1
        files = self.state["extras"]["files"].split(",")
        digests = [Path(file).stem for file in files]
        ends = [digest for digest in digests if digest in self.state["crashes"]]
        if self.state["looks"] == 1:
            self._status("running", text="round 1 of 3", file=[*ends, *digests][0])
        elif ends or self.state["leaves"]:
            alive.unlink()
            if not ends:
                self._status("background")
        elif self.state["looks"] == 2:
            for file, digest in zip(files, digests, strict=True):
                if digest not in self.state["fails"]:
                    self._row(file, digest)
            notes = [f"{one}: broken" for one in digests if one in self.state["fails"]]
            self._status("done", notes=notes)
        (self.folder / "state.json").write_text(json.dumps(self.state))

    def _row(self, file: str, digest: str) -> None:
        extras = self.state["extras"]
        accelerator = "GPU" if extras["gpu"] == "true" else "CPU"
        judged = "labelled" in extras
        told = {
            "model": "tiny", "variant": "v", "format": "tflite",
            "bytes": Path(file).stat().st_size, "sha256": digest,
            "threads": extras["threads"], "accelerator": accelerator,
            "accelerator_used": accelerator, "device": "Google Pixel 7", "android": "14",
            "latency_ms": self.state["latency"], "latency_p95_ms": 20, "rounds": "3/3",
            "metric": "accuracy" if judged else "", "value": 75 if judged else "",
            "pictures": 4 if judged else "", "file": Path(file).name,
        }  # fmt: skip
        names = self.state["columns"]
        place = self.folder / "app" / "files" / "phone" / extras["job"]
        place.mkdir(parents=True, exist_ok=True)
        lines = (names, [str(told.get(name, "")) for name in names])
        text = "".join(",".join(line) + "\n" for line in lines)
        (place / f"{digest}-{extras['threads']}-{accelerator}.csv").write_text(text)


if __name__ == "__main__":
    ended = Acting(Path(sys.argv[1])).adb(sys.argv[2:])
    sys.stdout.write(ended.stdout)
    sys.stderr.write(ended.stderr)
    sys.exit(ended.returncode)
