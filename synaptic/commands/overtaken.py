"""What guides to these engines say to type, and what does the same here. Only hints: no line is understood as another."""

from __future__ import annotations

import re
from collections.abc import Sequence

_TO_UNITS = ("start", "stop", "restart", "status", "enable", "disable", "daemon-reload", "is-active")
_TO_ISSUES = ("show", "dep", "ready", "update", "close", "list", "create")
_EXAMPLES = ("", "examples/", "airllm/examples/")
LINES = (  # how the line begins
    ("ollama pull", "try: model pull NAME"),
    ("ollama list", "try: model list"),
    ("ollama ps", "try: nodes list"),
    ("ollama run", "try: ask --model NAME TEXT"),
    ("ollama show", "try: model show NAME"),
    ("export", "the environment is read at the start; here, try: rpc add HOST:PORT"),
    ("curl", "an rpc-server speaks its own protocol, not HTTP; try: rpc check HOST:PORT"),
    ("rpc-server", "try: worker start"),
    ("ggml-rpc-server", "try: worker start"),
    ("llama-server", "try: coordinator start MODEL"),
    ("llama-bench", "try: bench run --model MODEL"),
    ("dllama inference", "try: dllama add HOST:PORT for each of its --workers, then: dllama root FILE.m and model use FILE.m"),
    ("dllama chat", "try: dllama root FILE.m, then: model use FILE.m, then just ask"),
    ("dllama-api", "try: serve"),
    *((f"python{version} -m worker", "try: dllama worker --host ADDRESS --model FILE.m") for version in ("", "3")),
    *((f"python{version} {place}parse_header.py", "try: model show FILE.m") for version in ("", "3") for place in _EXAMPLES),
    ("pip install", "nothing is missing here; kernels for models of distributed-llama, try: engine install builtin"),
    ("cluster control", "try: cluster exec control --profile NAME -- COMMAND"),
    ("llama-cluster-monitor", "it is for the nodes; here, try: deploy status PROFILE"),
    ("llama-service-status", "it is for the nodes; here, try: deploy status PROFILE"),
    *((f"systemctl {verb}", "that is for the nodes; here, try: deploy status PROFILE") for verb in _TO_UNITS),
    ("journalctl", "that is for the machines; here, try: cluster exec MACHINE -- journalctl -u UNIT -n 50"),
    ("nvidia-smi", "that is for the nodes; here, try: cluster exec all -- nvidia-smi"),
    ("ansible-playbook", "that is for another shell; here, try: deploy apply DIR"),
    ("rsync", "a rendered folder may be copied as it is; try: deploy render PROFILE --out DIR"),
    ("nohup", "try: worker start, or for services that stay: deploy render PROFILE --out DIR"),
    ("vllm serve", "try: deploy render PROFILE --out DIR, for a profile with services.vllm"),
    *((f"bd {verb}", "bd is a tracker of issues; how a cluster is, try: deploy status PROFILE") for verb in _TO_ISSUES),
)
_OURS = re.compile(r"(?:synaptic|python3? (?:-m synaptic|(?:\./)?main\.py))(?:\s+(?P<rest>.*))?", re.DOTALL)
_PLACE = re.compile(r"^(?:sudo )?(?:\./|/(?:[\w.-]+/)+)?")  # before the name of a program
_MODELS = "that is for another shell; for a server of models, here, try: nodes add URL, then just ask"
_FLAGS = {
    ("worker start", "--mem"): "llama.cpp has no such flag any more: a worker lends what its device has free, and a plan fits it",
    ("worker start", "--model"): "try: dllama worker --model FILE.m; an rpc-server is sent its share",
    ("coordinator start", "--parallel"): "try: config set parallel N, then: coordinator restart; tune parallel measures which N",
    ("coordinator start", "--ctx-size"): "try: config set context N, then: coordinator restart; tune ctx measures which N",
    ("tune parallel", "--parallel"): "it tries several: --try 1,3",
    ("tune ctx", "--ctx-size"): "it tries several: --try 4096,8192",
}


def instead_of(words: Sequence[str]) -> str | None:
    """The hint for a line that is no command; None where nothing is known of it."""
    line = _PLACE.sub("", " ".join(words))
    if line.startswith("curl ") and ("/v1/" in line or "/api/" in line):
        return _MODELS
    return next((hint for begin, hint in LINES if f"{line} ".startswith(f"{begin} ")), None)


def instead_of_line(line: str) -> str | None:
    """The same for a line of the shell, which may be a prompt: only what nobody would say to a model."""
    bare = _PLACE.sub("", line)
    words = bare.split()
    second = words[1] if len(words) > 1 else "-"
    is_typed = bare != line or second.startswith(("-", "./", "/")) or any(mark in second for mark in ("://", "="))
    known = [begin for begin, _ in LINES if f"{' '.join(words)} ".startswith(f"{begin} ")]
    return instead_of(words) if known and (" " in known[0] or is_typed) else None


def ours_in(line: str) -> str | None:
    """What follows this program's own name, as guides have it for the outside; None where the line does not begin with that."""
    match = _OURS.fullmatch(line)
    return (match["rest"] or "").strip() if match else None


def instead_of_flag(command: str, flag: str) -> str | None:
    return _FLAGS.get((command, flag.partition("=")[0]))
