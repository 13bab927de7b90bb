"""Each unexpected end leaves a report that says what, why, and who is left."""

from __future__ import annotations

import pytest

from synaptic.cluster.pool import Pool
from synaptic.events import Bus, ChildChanged, ChildSpoke, Noticed
from synaptic.process.postmortem import KEPT, PostMortems, known_issue

ABORT = "/src/ggml-rpc.cpp:494: Remote RPC server crashed or returned malformed response"


@pytest.mark.anyio
async def test_a_coordinator_that_died_is_reported_with_its_lost_worker(tmp_path, rpc_worker):
    bus, kept, lost = Bus(), rpc_worker(), rpc_worker()
    pool = Pool(bus)
    pool.add([kept.endpoint, lost.endpoint], "configured")
    reports = PostMortems(bus, pool, tmp_path / "logs")
    for line in ("loading", ABORT):
        bus.publish(ChildSpoke(child="coordinator demo", line=line))
    bus.publish(ChildSpoke(child="another", line="not mine"))
    lost.process.kill()
    lost.process.wait()
    bus.publish(ChildChanged(child="coordinator demo", before="ready", after="failed", cause="a worker was lost"))
    await reports.close()
    (path,) = (tmp_path / "logs").glob("report-*.log")
    text = path.read_text()
    assert "cause: a worker was lost" in text
    assert "#25938" in text
    assert f"  {kept.endpoint}  idle" in text
    assert f"  {lost.endpoint}  unreachable" in text
    assert text.endswith(f"last words:\n  loading\n  {ABORT}\n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert any(path.stem in event.text for event in bus.history if isinstance(event, Noticed))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("cause", "said"),
    [("ended unexpectedly (SIGKILL)", "coordinator demo ended unexpectedly (SIGKILL)   "), ("lost", "coordinator demo ended: lost   ")],
)
async def test_it_says_once_that_it_ended(tmp_path, cause, said):
    bus = Bus()
    reports = PostMortems(bus, Pool(bus), tmp_path)
    bus.publish(ChildChanged(child="coordinator demo", before="ready", after="failed", cause=cause))
    await reports.close()
    (notice,) = [event.text for event in bus.history if isinstance(event, Noticed)]
    assert notice.startswith(said)


@pytest.mark.anyio
async def test_an_end_that_was_asked_for_leaves_none_and_old_ones_go(tmp_path):
    bus = Bus()
    for number in range(KEPT + 5):
        (tmp_path / f"report-20260101-{number:06}-x.log").write_text("")
    reports = PostMortems(bus, Pool(bus), tmp_path)
    bus.publish(ChildChanged(child="coordinator demo", before="stopping", after="stopped"))
    bus.publish(ChildChanged(child="coordinator demo", before="starting", after="failed"))
    await reports.close()
    assert len(list(tmp_path.iterdir())) == KEPT + 5
    reports = PostMortems(bus, Pool(bus), tmp_path)
    bus.publish(ChildChanged(child="coordinator demo", before="ready", after="failed"))
    await reports.close()
    assert len(list(tmp_path.iterdir())) == KEPT


def test_what_nobody_reported_is_not_claimed():
    assert known_issue(["all slots are idle"]) is None
