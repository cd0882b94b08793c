"""The judge's connection: what is sent and where, how often it tries, and one clear error for each way in which it fails."""

from __future__ import annotations

import json
import logging
import socket
import threading
from pathlib import Path

import pytest

from sana_bench.errors import ConfigError, MetricError
from sana_bench.judge.client import LONGEST_WAIT_S, MOST_BROKEN, MOST_RETRIES, ChatClient, _Patience
from sana_bench.judge.endpoint import API_KEY, MODEL, TIMEOUT, URL, Endpoint, endpoint_of, require_endpoint
from tests.judge_server import Asked, Told, chooses, judge_server, says

MESSAGES = [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "u"}]}]
SCHEMA = {"name": "n", "schema": {"type": "object"}}
SECRET = "sk-very-secret-1234"


def in_turn(*told: Told):
    """Answers one after the other, the last one for ever."""
    left = list(told)
    return lambda asked: left.pop(0) if len(left) > 1 else left[0]


def ask(server) -> str:
    return ChatClient(server.endpoint).ask(MESSAGES, SCHEMA, 3).text


def test_it_sends_what_the_api_wants_and_the_key_in_its_header_alone() -> None:
    with judge_server(lambda asked: says("hello"), api_key=SECRET) as server:
        reply = ChatClient(server.endpoint).ask(MESSAGES, SCHEMA, 3)
    assert (reply.text, reply.model) == ("hello", "stub-2026")
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions" and asked.headers["Authorization"] == f"Bearer {SECRET}"
    assert {"model": "stub", "temperature": 0, "seed": 3, "messages": MESSAGES}.items() <= asked.body.items()
    assert asked.body["response_format"] == {"type": "json_schema", "json_schema": SCHEMA}
    assert SECRET not in json.dumps(asked.body)


@pytest.mark.parametrize(("key", "sent"), [("", None), (SECRET, f"Bearer {SECRET}")])
def test_no_password_of_netrc_is_sent_in_place_of_the_key(key: str, sent: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0.0.0.0 leads to this machine and is taken for another one, for which proxies and netrc would count."""
    (tmp_path / "netrc").write_text("default login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("no_proxy", "*")
    with judge_server(lambda asked: says("hello")) as server:
        elsewhere = Endpoint(url=server.endpoint.url.replace("127.0.0.1", "0.0.0.0"), model="m", api_key=key)
        assert not elsewhere.is_loopback and ChatClient(elsewhere).ask(MESSAGES, SCHEMA, 0).text == "hello"
    assert server.asked[0].headers.get("Authorization") == sent


def test_a_loopback_server_is_asked_directly_whatever_proxy_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with judge_server(lambda asked: says("through the proxy")) as proxy, judge_server(lambda asked: says("directly")) as server:
        monkeypatch.setenv("http_proxy", proxy.endpoint.url.removesuffix("/v1"))
        monkeypatch.delenv("no_proxy", raising=False)
        assert ask(server) == "directly" and not proxy.asked


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble_is_asked_again(status: int) -> None:
    with judge_server(in_turn(Told(status), Told(status, headers={"Retry-After": "0"}), says("at last"))) as server:
        assert ask(server) == "at last"
    assert len(server.asked) == 3 and len({json.dumps(asked.body) for asked in server.asked}) == 1


@pytest.mark.parametrize("status", [429, 500])
def test_and_not_for_ever(status: int) -> None:
    with judge_server(lambda asked: Told(status, "overloaded")) as server:
        with pytest.raises(MetricError, match=rf"{status} \(overloaded\).*{MOST_RETRIES} retries"):
            ask(server)
    assert len(server.asked) == MOST_RETRIES + 1


def test_nobody_makes_it_wait_for_hours() -> None:
    class Response:
        headers = {"Retry-After": "86400"}

    assert _Patience().get_retry_after(Response()) == LONGEST_WAIT_S


@pytest.mark.parametrize(("status", "mend"), [(401, API_KEY), (403, API_KEY), (404, URL), (413, "takes pictures")])
def test_a_refusal_is_told_at_once_with_what_to_do(status: int, mend: str) -> None:
    with judge_server(lambda asked: Told(status, "no\n\x1b[31mway")) as server, pytest.raises(MetricError, match=rf"answered {status} \(no \[31mway\).*{mend}"):
        ask(server)
    assert len(server.asked) == 1


def test_a_server_that_knows_no_schemas_is_asked_without_one_from_then_on() -> None:
    def answer(asked: Asked) -> Told:
        return Told(400, "unknown field response_format") if "response_format" in asked.body else says("plain")

    with judge_server(answer) as server:
        client = ChatClient(server.endpoint)
        assert [client.ask(MESSAGES, SCHEMA, 0).text for _ in range(2)] == ["plain", "plain"]
    assert ["response_format" in asked.body for asked in server.asked] == [True, False, False]


def test_a_server_that_hangs_is_given_up() -> None:
    done = threading.Event()

    def hang(asked: Asked) -> Told:
        done.wait()
        return chooses("A")

    with judge_server(hang, timeout_s=0.2) as server:
        try:
            with pytest.raises(MetricError, match=rf"does not answer .*{TIMEOUT} \(now 0.2\)"):
                ask(server)
        finally:
            done.set()
    assert len(server.asked) == MOST_BROKEN + 1


def test_nobody_there_is_one_clear_error() -> None:
    with socket.socket() as taken:  # bound and not listening: refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(MetricError, match=f"{url} does not answer.*{URL}"):
            ChatClient(Endpoint(url=url, model="m", backoff_s=0)).ask(MESSAGES, SCHEMA, 0)


def test_pictures_do_not_follow_a_redirect() -> None:
    with judge_server(lambda asked: says("elsewhere")) as other:
        with judge_server(lambda asked: Told(307, headers={"Location": f"{other.endpoint.url}/chat/completions"})) as server:
            with pytest.raises(MetricError, match="sends elsewhere"):
                ask(server)
    assert len(server.asked) == 1 and not other.asked


@pytest.mark.parametrize("body", ["<html>hello</html>", "[]", '{"choices": []}', '{"object": "list"}'])
def test_what_is_no_chat_completion_is_one_clear_error(body: str) -> None:
    with judge_server(lambda asked: Told(body=body)) as server, pytest.raises(MetricError, match=f"something else than a chat completion.*{URL}"):
        ask(server)


def test_the_key_is_in_no_message_no_log_and_no_repr(caplog: pytest.LogCaptureFixture) -> None:
    """A server that says the key back, at every level of logging."""
    caplog.set_level(logging.DEBUG)
    with judge_server(in_turn(Told(500), Told(401, f"Incorrect API key provided: {SECRET}")), api_key=SECRET) as server:
        with pytest.raises(MetricError) as error:
            ask(server)
    assert "Incorrect API key provided: ***" in str(error.value) and len(server.asked) == 2
    assert caplog.text and SECRET not in caplog.text + str(error.value) + repr(server.endpoint)


WHOLE = {URL: "https://judge.example/v1/", MODEL: "m"}


def test_the_environment_names_the_endpoint() -> None:
    assert endpoint_of({}) is None and endpoint_of({MODEL: "m", API_KEY: "k"}) is None
    endpoint = endpoint_of({**WHOLE, API_KEY: "k", TIMEOUT: "7.5"})
    assert (endpoint.url, endpoint.model, endpoint.api_key, endpoint.timeout_s) == ("https://judge.example/v1", "m", "k", 7.5)


@pytest.mark.parametrize(("change", "word"), [
    ({MODEL: ""}, MODEL), ({URL: "judge.example"}, "http"), ({URL: "ftp://judge.example"}, "http"), ({URL: "http://me:pw@judge.example/v1"}, API_KEY),
    ({URL: "http://judge.example/v1?key=1"}, API_KEY), ({URL: "http://judge.example:port/v1"}, "http"), ({URL: "http://[::1/v1"}, "http"),
    ({TIMEOUT: "soon"}, "soon"), ({TIMEOUT: "0"}, TIMEOUT), ({TIMEOUT: "inf"}, TIMEOUT), ({TIMEOUT: "nan"}, TIMEOUT)])
def test_half_an_endpoint_is_one_clear_error(change: dict[str, str], word: str) -> None:
    with pytest.raises(ConfigError, match=word) as error:
        endpoint_of({**WHOLE, **change})
    assert "pw@" not in str(error.value)


@pytest.mark.parametrize(("url", "allowed"), [
    ("http://127.0.0.1:8000/v1", True), ("http://127.9.9.9/v1", True), ("http://localhost:11434/v1", True), ("http://[::1]:80/v1", True),
    ("http://10.0.0.1/v1", False), ("https://judge.example/v1", False), ("http://127.0.0.1.judge.example/v1", False)])
def test_offline_means_this_machine_only(url: str, allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {URL: url, MODEL: "m", "SANA_BENCH_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    if allowed:
        assert require_endpoint().is_loopback
    else:
        with pytest.raises(ConfigError, match="SANA_BENCH_OFFLINE=1 forbids"):
            require_endpoint()
