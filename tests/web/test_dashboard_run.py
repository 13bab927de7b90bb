"""Commands over HTTP: the same grammar and the same documents as everywhere."""

from __future__ import annotations

import contextlib
import json

import aiohttp
import pytest
import requests
from program import run_main


def test_a_command_answers_what_json_prints(served, own_home):
    here = served()
    answer = here.run("model list")
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json() == run_main("model", "list", "--json", cwd=own_home).json
    assert here.run("model list --json").json() == answer.json()


def test_a_line_that_is_wrong_says_so_and_how_it_goes(served):
    here = served()
    answer = here.run("rpc ad 127.0.0.1")
    assert answer.status_code == 400
    assert answer.json()["error"] == {"kind": "usage", "message": "unknown command: rpc ad", "hint": "did you mean: rpc add"}
    assert answer.headers["X-Exit-Code"] == "2"
    (frame,) = here.frames("rpc ad 127.0.0.1")
    assert frame["type"] == "error"
    assert frame["prefill"] == "ask rpc ad 127.0.0.1"
    assert here.run(" ").json()["error"]["message"] == "the line is empty"


def test_a_worker_that_does_not_answer_is_an_error_of_its_kind(served):
    answer = served().run("coordinator stop nothing-like-it")
    assert answer.status_code == 502
    assert answer.json()["error"]["kind"] == "engine"


def test_nobody_leaves_the_shell_from_outside(served):
    here = served()
    assert "cannot be left from here" in here.run("exit").json()["error"]["message"]
    assert here.get("/api/health").json()["status"] == "healthy"


def test_a_question_is_asked_back_and_answered_with_yes(served):
    here = served(LLAMA_RPC_BACKENDS="")
    here.run("rpc add 127.0.9.1:1 127.0.9.2:1 --timeout 0.2")
    asked = here.run("rpc remove --all").json()["error"]
    assert asked == {"kind": "usage", "message": "forget 2 workers?", "hint": "confirm to go on: --yes"}
    assert here.run("rpc remove --all", yes=True).json() == {"removed": ["127.0.9.1:1", "127.0.9.2:1"]}
    here.run("rpc add 127.0.9.1:1 --timeout 0.2")
    assert here.run("rpc remove --all --yes").json() == {"removed": ["127.0.9.1:1"]}


def test_a_table_comes_as_the_cells_that_a_terminal_shows(served):
    (frame,) = served().frames("config show")
    assert frame["type"] == "result"
    assert frame["view"]["kind"] == "rows"
    assert "model" in [row[0]["text"] for row in frame["view"]["rows"]]
    assert frame["exit_code"] == 0


def test_text_that_would_be_obeyed_is_shown(served):
    here = served()
    evil = "<img src=x onerror=alert(1)>\x1b[31m\u202e\u2028</script>"
    here.run(f"config set system_prompt {evil}")
    (frame,) = here.frames("config show")
    shown = json.dumps(frame["view"], ensure_ascii=False)
    assert "<img src=x onerror=alert(1)>" in shown  # as it is: the page has no markup to break out of
    assert not {"\x1b", "\u202e", "\u2028"} & set(shown)


def test_status_and_url_name_the_dashboard(served):
    here = served()
    assert here.run("status").json()["dashboard"] == {"url": here.url}
    assert here.run("dashboard url").json() == {"url": here.page, "address": here.url}
    assert here.run("dashboard").json()["url"] == here.page  # a second one is the first one


def test_where_none_is_on_url_says_how(own_home):
    done = run_main("dashboard", "url", cwd=own_home)
    assert (done.code, done.err) == (1, "✗ the dashboard is off\n  try: dashboard\n")
    assert run_main("dashboard", "off", cwd=own_home).out == "the dashboard is off already\n"
    assert run_main("status", "--json", cwd=own_home).json["dashboard"] == {"url": None}


@pytest.mark.anyio
async def test_a_log_that_is_followed_ends_with_its_reader(served):
    """A client that goes away ends its command: the port is not held by a request that never ends."""
    here = served()
    headers = {"Authorization": f"Bearer {here.token}", "Accept": "application/x-ndjson"}
    async with aiohttp.ClientSession(headers=headers) as http:
        answer = await http.post(f"{here.url}/api/run", json={"line": "logs synaptic -f"})
        assert json.loads(await answer.content.readline())["type"] in ("line", "error")
        answer.close()
    assert here.interrupt() == 130


def test_the_page_can_switch_its_own_server_off(served):
    here = served()
    with contextlib.suppress(requests.ConnectionError):  # the answer may be cut off with everything else
        here.run("dashboard off")
    with pytest.raises(requests.ConnectionError):
        here.get("/api/health")
    assert here.interrupt() == 130
