"""Whether this is a moment to measure in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from synaptic.bench.kept import problem_of
from synaptic.bench.preflight import Condition, findings, happened, look, reasons_of
from synaptic.bench.result import Identity, Software
from synaptic.commands import load
from synaptic.commands.bench_subject import Subject
from synaptic.commands.bench_surroundings import Preflight
from synaptic.errors import EngineError
from synaptic.events import Noticed

pytestmark = pytest.mark.anyio
registry = load()
CALM = Condition(busy=0.02, swap=0)


def told(now: Condition, **more: object) -> list[str]:
    return [str(finding) for finding in findings(now, **more)]


def test_on_a_calm_machine_there_is_nothing_to_tell() -> None:
    assert told(CALM, others=0, is_loaded=True) == []


@pytest.mark.parametrize(
    ("now", "more", "sentence"),
    [
        (Condition(0.6, 0), {}, "busy: 60% of this machine's processor is at work on something else"),
        (Condition(0.0, 1 << 30), {}, "swap: 1 GiB of this machine's memory are swapped out"),
        (Condition(0.0, 0, governors=("powersave", "powersave")), {}, "governor: powersave: this machine's cores may stay slow"),
        (Condition(0.0, 0, gpus=("power cap",)), {}, "slowed: a GPU of this machine, by power cap"),
        (CALM, {"is_loaded": False}, "not loaded: the server has yet to load the model"),
        (CALM, {"others": 2}, "in use: 2 answers of somebody else at the same server"),
    ],
)
def test_each_thing_has_its_sentence(now: Condition, more: dict[str, object], sentence: str) -> None:
    (one,) = told(now, **more)
    assert one.startswith(sentence)


def test_only_somebody_elses_answers_are_serious() -> None:
    worst = Condition(1.0, 1 << 40, ("powersave",), 5, ("power cap",))
    assert [finding.what for finding in findings(worst, others=1, is_loaded=False) if finding.is_serious] == ["in use"]


def test_what_happened_meanwhile_is_told_afterwards() -> None:
    after = Condition(0.9, 1 << 30, throttled=3, gpus=("hardware thermal",))
    assert [finding.what for finding in happened(CALM, after)] == ["throttled", "swap", "slowed"]
    assert happened(after, after) == []


async def test_the_system_is_asked_for_governors_and_throttling(tmp_path: Path) -> None:
    for number, (governor, driver, count) in enumerate(
        [("powersave", "acpi-cpufreq", "2"), ("powersave", "intel_pstate", "3"), ("performance", "acpi-cpufreq", "?")]
    ):
        cpu = tmp_path / "devices" / "system" / "cpu" / f"cpu{number}"
        (cpu / "cpufreq").mkdir(parents=True)
        (cpu / "thermal_throttle").mkdir()
        (cpu / "cpufreq" / "scaling_governor").write_text(f"{governor}\n")
        (cpu / "cpufreq" / "scaling_driver").write_text(f"{driver}\n")
        (cpu / "thermal_throttle" / "core_throttle_count").write_text(f"{count}\n")
    now = await look(tmp_path)
    assert (now.governors, now.throttled) == (("powersave",), 5)
    assert 0 <= now.busy <= 1
    nothing = await look(tmp_path / "no linux")
    assert (nothing.governors, nothing.throttled) == ((), 0)


def test_the_bits_of_nvidia_smi() -> None:
    assert reasons_of("0x0000000000000044\n0x0000000000000001\n[N/A]\n") == ["power cap", "hardware thermal"]


async def test_it_stands_in_the_report_or_is_left_out(fakellama, session_with) -> None:
    line = f"bench run --endpoint {fakellama()} --requests 1 --repeats 1"
    looked = json.loads(json.dumps((await registry.parse_line(line).run(session_with())).as_json()))
    skipped = json.loads(json.dumps((await registry.parse_line(f"{line} --preflight skip").run(session_with())).as_json()))
    assert isinstance(looked["config"]["preflight"], list)
    assert skipped["config"]["preflight"] is None
    assert problem_of(looked) == problem_of(skipped) == ""


async def test_a_server_that_answers_somebody_else_is_not_measured(figures, session_with) -> None:
    url = figures("llamacpp:requests_processing 1\nllamacpp:requests_deferred 2\n")
    with pytest.raises(EngineError, match="not measured, for in use: 3 answers of somebody else") as caught:
        await registry.parse_line(f"bench run --endpoint {url} --requests 1 --repeats 1").run(session_with())
    assert caught.value.hint == "--preflight skip measures all the same"


async def test_what_is_told_may_also_stop_it(session_with) -> None:
    session, subject = session_with(), Subject(None, Identity("m", None), Software("Ollama", "", ""), is_loaded=False)
    with session.bus.subscribe(Noticed) as told:
        await Preflight(session, "warn").check(subject)
        event = await anext(aiter(told))
    assert event.text.startswith("while it is measured, not loaded: ")
    with pytest.raises(EngineError, match="not measured, for not loaded"):
        await Preflight(session, "refuse").check(subject)
    await Preflight(session, "skip").check(subject)
