from __future__ import annotations

import asyncio

import pytest

from synaptic.events import Bus, ChildSpoke, Event, Noticed, SettingChanged, WorkFinished, WorkProgressed, WorkStarted

pytestmark = pytest.mark.anyio


async def test_a_subscriber_hears_only_its_kinds_in_order() -> None:
    bus = Bus()
    with bus.subscribe(Noticed) as notices:
        bus.publish(Noticed(text="one"))
        bus.publish(SettingChanged(key="model", value="demo"))
        bus.publish(Noticed(text="two"))
        heard = [await anext(aiter(notices)) for _ in range(2)]
    assert [event.text for event in heard] == ["one", "two"]


async def test_a_slow_subscriber_loses_its_oldest_and_is_told() -> None:
    bus = Bus()
    with bus.subscribe(Noticed, limit=3) as notices:
        for number in range(10):
            bus.publish(Noticed(text=str(number)))
        assert notices.dropped == 7
        assert [event.text for event in notices.queue] == ["7", "8", "9"]


async def test_a_waiting_subscriber_is_woken() -> None:
    bus = Bus()
    with bus.subscribe(Noticed) as notices:
        waiting = asyncio.create_task(anext(aiter(notices)))
        await asyncio.sleep(0)
        bus.publish(Noticed(text="now"))
        assert (await asyncio.wait_for(waiting, 30)).text == "now"


async def test_latecomers_find_the_last_events() -> None:
    bus = Bus(remember=2)
    for number in range(5):
        bus.publish(Noticed(text=str(number)))
    assert [event.text for event in bus.history if isinstance(event, Noticed)] == ["3", "4"]


async def test_what_is_said_all_the_time_does_not_push_out_what_happened() -> None:
    bus = Bus(remember=3)
    bus.publish(Noticed(text="the worker is lost"))
    for number in range(10):
        bus.publish(ChildSpoke(child="coordinator m", line=str(number)))
    bus.publish(Noticed(text="it is back"))
    told = [event.text if isinstance(event, Noticed) else event.line for event in bus.history]
    assert told == ["the worker is lost", "7", "8", "9", "it is back"]


async def test_work_is_told_from_start_to_end_even_when_it_fails() -> None:
    bus = Bus()
    heard: list[Event] = []
    bus.tap(heard.append)

    def load() -> None:
        with bus.work("loading") as work:
            work.update(done=1, total=4, unit="layers")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        load()
    assert [type(event) for event in heard] == [WorkStarted, WorkProgressed, WorkFinished]


async def test_nobody_hears_after_leaving() -> None:
    bus = Bus()
    with bus.subscribe(Noticed) as notices:
        pass
    heard: list[Event] = []
    bus.tap(heard.append)
    bus.untap(heard.append)
    bus.publish(Noticed(text="gone"))
    assert not notices.queue
    assert not heard
