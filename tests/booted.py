"""
Machines with a systemd of their own, booted by systemd-nspawn: /usr is this machine's and cannot be written to, everything
else is empty or a test's. No network but loopback, until a cable joins two of them; this machine is on no end of it.

They live in a process namespace and a control group of their own, so nothing of them outlives the test, however it ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

NEEDED = {
    "systemd-nspawn": "systemd-container",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "nsenter": "util-linux",
    "ip": "iproute2",
}
CLEAN = ("env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8")
GROUPS = [Path("/sys/fs/cgroup", each) for each in ("", "systemd", "unified")]  # where systemd keeps its own, of any age
CONTAIN = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c")
OWN_RUN = ('mount -t tmpfs run /run && exec "$@"', "sh")  # where nspawn notes who runs
NSPAWN = ("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--volatile=yes", "--console=pipe", "-D", "/")
UNWANTED = ("systemd-logind", "console-getty", "systemd-udevd", "systemd-networkd", "systemd-resolved", "systemd-timesyncd")
FILES = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
    "shadow": "root:*:19000::::::\n",
    "nsswitch.conf": "passwd: files systemd\ngroup: files systemd\nhosts: files\n",
}
SSH = """\
#!/bin/sh
# in the place of ssh: options, the machine, a line for its shell
while :; do
    case $1 in
    --) shift; break ;;
    -o | -F | -i | -p | -l) shift 2 ;;
    -*) shift ;;
    *) break ;;
    esac
done
case ${1#*@} in
CASES
*) echo "ssh: $1 is not booted" >&2; exit 255 ;;
esac
shift
exec $enter sh -c "$*"
"""


@dataclasses.dataclass(frozen=True)
class Machine:
    name: str
    folder: Path
    process: subprocess.Popen[bytes]
    leader: int  # its first process, as numbered here

    @property
    def etc(self) -> Path:
        return self.folder / "etc"

    @property
    def enter(self) -> tuple[str, ...]:
        """Words that run others on it."""
        return ("nsenter", "-t", str(self.leader), "-m", "-p", "-u", "-i", "-n", "-C", "--", *CLEAN)

    @property
    def network(self) -> tuple[str, ...]:
        """Words that run others of this machine where it sees that one's network, and no other."""
        return ("nsenter", "-t", str(self.leader), "-n", "--")

    def run(self, *words: str, may_fail: bool = False, within: float = 60.0) -> str:
        done = subprocess.run([*self.enter, *words], capture_output=True, text=True, check=False, timeout=within, stdin=subprocess.DEVNULL)
        assert may_fail or done.returncode == 0, f"{self.name}: {shlex.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Properties, as systemd says them."""
        lines = self.run("systemctl", "show", unit, "-p", ",".join(names)).splitlines()
        return dict(line.split("=", 1) for line in lines)

    def journal(self, *words: str) -> str:
        return self.run("journalctl", "--no-pager", "-q", *words)


def why_not(folder: Path) -> str | None:
    """Why no machine can be booted here, and what to do about it. None: it can."""
    missing = [program for program in NEEDED if not shutil.which(program)]
    if missing:
        return f"no {', '.join(missing)}. try: apt install {' '.join(sorted({NEEDED[each] for each in missing}))}"
    if os.geteuid() != 0:
        return "only root may boot a machine. try: sudo ./scripts/test tests/deploy/test_real_systemd.py"
    words = [*CONTAIN, *OWN_RUN, *_nspawn(_prepared(folder, "trial", {}), "trial", ()), "/usr/bin/true"]
    with _group("trial") as enter:
        tried = subprocess.run([*enter, *words], capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL)
    said = tried.stderr.strip().splitlines() or [f"it ended with {tried.returncode}"]
    return f"systemd-nspawn does not run here: {said[-1]}. try: a virtual machine, as root" if tried.returncode else None


@contextlib.contextmanager
def booted(folder: Path, names: Sequence[str], binds: Mapping[str, Path], hosts: str = "") -> Iterator[list[Machine]]:
    """`binds`: by the path there, what of this machine is there to be read. `hosts`: of /etc/hosts, everywhere."""
    with contextlib.ExitStack() as stack:
        begun = [stack.enter_context(_begun(_prepared(folder, name, {"hosts": hosts}), name, binds)) for name in names]
        yield [_up(*each) for each in begun]


def cable(*ends: tuple[Machine, str]) -> None:
    """Two machines and their addresses, as 10.77.0.1/24."""
    (one, _), (other, _) = ends
    _ip("link", "add", "lan0", "netns", str(one.leader), "type", "veth", "peer", "name", "lan0", "netns", str(other.leader))
    for machine, address in ends:
        machine.run("ip", "address", "add", address, "dev", "lan0")
        machine.run("ip", "link", "set", "lan0", "up")


def ssh(folder: Path, machines: Mapping[str, Machine]) -> None:
    """A program that is called like ssh and takes its words, and reaches these machines alone, by address."""
    cases = "\n".join(f"{address}) enter={shlex.quote(shlex.join(machine.enter))} ;;" for address, machine in machines.items())
    (folder / "ssh").write_text(SSH.replace("CASES", cases))
    (folder / "ssh").chmod(0o755)


def until(found: Callable[[], object], what: str, within: float) -> None:
    end = time.monotonic() + within
    while not found():
        assert time.monotonic() < end, f"{what}: not within {within:.0f} s"
        time.sleep(0.1)


def _prepared(folder: Path, name: str, files: Mapping[str, str]) -> Path:
    """What of a machine can be written to and seen from here: /etc and /usr/local/bin."""
    own = folder / name
    (own / "etc/systemd/system").mkdir(parents=True)
    (own / "bin").mkdir()
    for path in (own, own / "etc", own / "bin"):
        path.chmod(0o755)
    for path, text in {**FILES, "hostname": f"{name}\n", "machine-id": f"{uuid.uuid4().hex}\n", **files}.items():
        (own / "etc" / path).write_text(text)
    (own / "etc/shadow").chmod(0o600)
    (own / "etc/os-release").symlink_to("../usr/lib/os-release")
    for each in UNWANTED:
        (own / f"etc/systemd/system/{each}.service").symlink_to("/dev/null")
    (own / "etc/systemd/system/getty.target").symlink_to("/dev/null")
    if Path("/etc/alternatives").is_dir():  # programs below /usr lead through it
        shutil.copytree("/etc/alternatives", own / "etc/alternatives", symlinks=True)
    return own


def _nspawn(own: Path, name: str, binds: Sequence[tuple[str, Path]]) -> list[str]:
    given = [f"--bind-ro={_escaped(source)}:{there}" for there, source in binds]
    return [*NSPAWN, "-M", name, f"--bind={_escaped(own / 'etc')}:/etc", f"--bind={_escaped(own / 'bin')}:/usr/local/bin", *given]


def _escaped(path: Path) -> str:
    return re.sub(r"([\\:])", r"\\\1", str(path))


@contextlib.contextmanager
def _begun(own: Path, name: str, binds: Mapping[str, Path]) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    words = [*CONTAIN, *OWN_RUN, *_nspawn(own, name, tuple(binds.items())), "--boot"]
    with _group(name) as enter, (own / "console").open("wb") as console:
        process = subprocess.Popen([*enter, *words], stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True)
        try:
            yield own, process
        finally:
            process.kill()  # and the kernel ends all that is in its namespace
            process.wait()


def _up(own: Path, process: subprocess.Popen[bytes]) -> Machine:
    leaders: list[int] = []

    def found() -> bool:
        assert process.poll() is None, (own / "console").read_text(errors="replace")
        with contextlib.suppress(psutil.Error):
            leaders[:] = [each.pid for each in psutil.Process(process.pid).children(recursive=True) if each.name() == "systemd"][:1]
        return bool(leaders)

    until(found, f"{own.name} has a first process", 60)
    machine = Machine(own.name, own, process, leaders[0])
    until(lambda: machine.run("systemctl", "is-system-running", may_fail=True).strip() in ("running", "degraded"), f"{own.name} is up", 90)
    return machine


@contextlib.contextmanager
def _group(name: str) -> Iterator[tuple[str, ...]]:
    """A control group for one machine; the words that run others in it. Two in one would take each other's services for their own."""
    made = [each / f"booted-{os.getpid()}-{name}" for each in GROUPS if (each / "cgroup.procs").is_file()]
    for group in made:
        with contextlib.suppress(OSError):  # it is read-only, then the trial says so
            group.mkdir()
    join = "".join(f"echo $$ >{shlex.quote(str(group))}/cgroup.procs && " for group in made)
    try:
        yield ("sh", "-c", f'{join}exec "$@"', "sh")
    finally:
        for group in made:
            until(lambda group=group: _is_gone(group), f"{group} is empty", 20)


def _is_gone(group: Path) -> bool:
    """Its last processes may still be on their way out."""
    try:
        for folder in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            folder.rmdir()
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)
