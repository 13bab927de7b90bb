"""
Make .venv hold the packages of requirements/NAME.txt, for each NAME given.

One at a time: a second one waits, and finds the work done. A copy of each file is left in .venv when it is
installed; scripts/setup compares the two. Standard library only, for this runs before anything is installed.
"""

import contextlib
import fcntl
import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
WAIT = 900.0  # seconds for another one to end; the kernel frees the lock of one that died


def main(names: list[str]) -> None:
    wanted = {name: (ROOT / "requirements" / f"{name}.txt").read_text() for name in names}
    with alone() as lock:
        if all(is_installed(name, text) for name, text in wanted.items()):
            return
        print("setting up the Python packages in .venv: once, about a minute", file=sys.stderr, flush=True)
        if not has_pip():
            make_empty(lock)
        files = [f"--requirement={ROOT / 'requirements' / name}.txt" for name in names]
        run(lock, PYTHON, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", *files)
        for name, text in wanted.items():
            (VENV / f"{name}.txt").write_text(text)


@contextlib.contextmanager
def alone() -> Iterator[int]:
    with Path(__file__).open("r+") as lock:
        deadline = time.monotonic() + WAIT
        while not is_ours(lock.fileno()):
            if time.monotonic() > deadline:
                sys.exit("another setup has not ended for a quarter of an hour; end it and repeat the command")
            time.sleep(0.1)
        yield lock.fileno()


def is_ours(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_installed(name: str, text: str) -> bool:
    stamp = VENV / f"{name}.txt"
    return PYTHON.exists() and stamp.exists() and stamp.read_text() == text


def has_pip() -> bool:
    """False also for a .venv whose making was interrupted, or whose Python is gone."""
    return PYTHON.exists() and subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def make_empty(lock: int) -> None:
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        sys.exit(f"{sys.executable} cannot make virtual environments. try: apt install python3-venv")
    run(lock, sys.executable, "-m", "venv", "--clear", VENV)


def run(lock: int, *command: str | Path) -> None:
    # the lock is inherited: when we are killed, it is free once pip has ended too
    if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, pass_fds=[lock], check=False).returncode != 0:
        sys.exit("setting up failed; the lines above say why. the next start tries again")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        sys.exit(f"setting up failed: {error}")
