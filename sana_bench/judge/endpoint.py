"""Where the judge is: set in the environment, never in a recipe, so that running somebody's recipe sends no picture anywhere.

    SANA_BENCH_JUDGE_URL        base URL of an OpenAI-compatible API, such as http://127.0.0.1:8000/v1; nothing is sent without it
    SANA_BENCH_JUDGE_MODEL      the model's name there
    SANA_BENCH_JUDGE_API_KEY    sent as a bearer token; optional
    SANA_BENCH_JUDGE_TIMEOUT_S  seconds to wait for an answer; optional
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sana_bench.assets.sources import OFFLINE_VARIABLE, is_offline
from sana_bench.errors import ConfigError

URL, MODEL, API_KEY, TIMEOUT = (f"SANA_BENCH_JUDGE_{name}" for name in ("URL", "MODEL", "API_KEY", "TIMEOUT_S"))
DEFAULT_TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An OpenAI-compatible API and a model of it."""

    url: str
    """Base URL, without a slash at its end."""
    model: str
    api_key: str = field(default="", repr=False)
    timeout_s: float = DEFAULT_TIMEOUT_S
    backoff_s: float = 1.0
    """Before the second retry; twice as long before each one after it."""

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine."""
        host = urlsplit(self.url).hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:  # a name, not an address
            return False


def endpoint_of(environment: Mapping[str, str] = os.environ) -> Endpoint | None:
    """The endpoint that the environment names; None where it names none.

    Raises:
        ConfigError: it names half of one, or what it names cannot be used.
    """
    url, model = environment.get(URL, "").strip().rstrip("/"), environment.get(MODEL, "").strip()
    if not url:
        return None
    if not model:
        raise ConfigError(f"{URL} is set and {MODEL} is not: name the model to ask there")
    api_key = environment.get(API_KEY, "").strip()
    if not (api_key.isascii() and (not api_key or api_key.isprintable())):
        raise ConfigError(f"{API_KEY} holds a line break or a character that no key has, such as a curly quote: set it again, in plain letters")
    endpoint = Endpoint(url=url, model=model, api_key=api_key, timeout_s=_timeout_of(environment))
    _check_url(endpoint)
    return endpoint


def require_endpoint() -> Endpoint:
    """The endpoint of this process's environment.

    Raises:
        ConfigError: there is none, or it cannot be used.
    """
    endpoint = endpoint_of()
    if endpoint is None:
        raise ConfigError(f"no judge is set, so no picture was sent anywhere: set {URL} to the base URL of an OpenAI-compatible API (such as "
                          f"http://127.0.0.1:8000/v1), {MODEL} to a model there that sees pictures and, where it wants one, {API_KEY}; or "
                          f"leave the judge's metrics out of score.metrics")
    if is_offline() and not endpoint.is_loopback:
        raise ConfigError(f"{URL} is on another machine and {OFFLINE_VARIABLE}=1 forbids every network access: unset one of them, or serve "
                          f"the model on this machine")
    return endpoint


def _check_url(endpoint: Endpoint) -> None:
    try:
        parts = urlsplit(endpoint.url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        usable = False
    # The URL appears in messages, so it must not hold what has to stay secret.
    if not usable or parts.username is not None or parts.query or parts.fragment:
        raise ConfigError(f"{URL} is not a plain http or https URL without user, query and fragment; give the base URL, such as "
                          f"http://127.0.0.1:8000/v1, and a secret in {API_KEY} alone")


def _timeout_of(environment: Mapping[str, str]) -> float:
    text = environment.get(TIMEOUT, "").strip() or str(DEFAULT_TIMEOUT_S)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f'{TIMEOUT} must be a number of seconds above 0, not "{text}"')
    return seconds
