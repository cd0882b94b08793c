"""One question to an OpenAI-compatible `/chat/completions`, with bounded patience, and one clear error where it fails."""

from __future__ import annotations

from dataclasses import dataclass

import requests
from pydantic import BaseModel, ValidationError
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from sana_bench.errors import MetricError
from sana_bench.judge.endpoint import API_KEY, MODEL, TIMEOUT, URL, Endpoint

RETRIED = (408, 429, 500, 502, 503, 504)
"""What a server says when it may do better later."""
MOST_RETRIES, MOST_BROKEN = 4, 2
"""Retries of one question, and of these after a broken, refused or timed-out connection."""
LONGEST_WAIT_S = 60.0
"""However long a server asks to wait."""
MAX_TOKENS = 2000
"""Room for a model that thinks before it answers."""
SHOWN = 300
"""Characters of a server's own words in a message."""


@dataclass(frozen=True)
class Reply:
    """What a model said, unchecked."""

    text: str
    """Empty where it declined."""
    model: str
    """What the server calls it."""


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message


class _Completion(BaseModel):
    """The part of a chat completion that is read."""

    choices: list[_Choice]
    model: str = ""


class _Patience(Retry):
    """urllib3's retries, which no server can make wait for hours."""

    def get_retry_after(self, response) -> float | None:
        seconds = super().get_retry_after(response)
        return None if seconds is None else min(seconds, LONGEST_WAIT_S)


class ChatClient:
    """A connection to one endpoint; close it after use."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint, self._structured, self._session = endpoint, True, requests.Session()
        # Proxies are for other machines; a loopback server is asked directly.
        self._session.trust_env = not endpoint.is_loopback
        patience = _Patience(total=MOST_RETRIES, connect=MOST_BROKEN, read=MOST_BROKEN, other=MOST_BROKEN, status_forcelist=RETRIED,
                             allowed_methods={"POST"}, backoff_factor=endpoint.backoff_s, backoff_max=LONGEST_WAIT_S, raise_on_status=False)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=patience))

    def ask(self, messages: list[dict], schema: dict, seed: int) -> Reply:
        """The model's answer, at temperature 0.

        Args:
            messages: in the API's form.
            schema: JSON schema that the answer should keep to, where the server can hold its model to one.
            seed: for servers that draw all the same.

        Raises:
            MetricError: the endpoint cannot be reached, refuses, keeps failing, or is none of this kind.
        """
        body = {"model": self.endpoint.model, "messages": messages, "temperature": 0, "seed": seed, "max_tokens": MAX_TOKENS}
        response = self._post({**body, "response_format": {"type": "json_schema", "json_schema": schema}} if self._structured else body)
        if self._structured and response.status_code in (400, 422):  # older servers know no schemas
            response = self._post(body)
            self._structured = not response.ok
        if not response.ok or response.is_redirect:
            raise MetricError(self._refusal(response))
        try:
            completion = _Completion.model_validate_json(response.content)
            return Reply(completion.choices[0].message.content or "", completion.model)
        except (ValidationError, IndexError) as error:
            raise MetricError(f"the judge at {self.endpoint.url} answered with something else than a chat completion. Check {URL}: it ends in "
                              f"/v1 for most servers") from error

    def close(self) -> None:
        self._session.close()

    def _post(self, body: dict) -> requests.Response:
        try:
            # No redirect is followed: pictures go to the address that was set and to no other.
            return self._session.post(f"{self.endpoint.url}/chat/completions", json=body, timeout=self.endpoint.timeout_s,
                                      auth=self._authorise, allow_redirects=False)
        except requests.RequestException as error:
            raise MetricError(f"the judge at {self.endpoint.url} does not answer ({self._shown(str(error))}). Check {URL}, whether it runs, and, "
                              f"where it is slow, {TIMEOUT} (now {self.endpoint.timeout_s:g}); answers so far are kept") from error

    def _authorise(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """As `auth`, since requests would put a password of ~/.netrc in place of a header."""
        if self.endpoint.api_key:
            request.headers["Authorization"] = f"Bearer {self.endpoint.api_key}"
        return request

    def _refusal(self, response: requests.Response) -> str:
        status, said = response.status_code, self._shown(response.text)
        if response.is_redirect:
            mend = f"it sends elsewhere, and pictures go only to the address that was set: set {URL} to where it really is"
        elif status in (401, 403):
            mend = f"set {API_KEY} to a key that may use this model"
        elif status == 404:
            mend = f"check {URL} (it ends in /v1 for most servers) and {MODEL}"
        elif status in RETRIED:
            mend = f"it still does after {MOST_RETRIES} retries; try again later, answers so far are kept"
        else:
            mend = f'check that "{self.endpoint.model}" takes pictures, two of them at once'
        return f"the judge at {self.endpoint.url} answered {status} ({said}): {mend}"

    def _shown(self, text: str) -> str:
        """A server's words for a message: one line of printable characters, short, and without the key, which some servers repeat."""
        line = "".join(character for character in " ".join(text.split()) if character.isprintable())
        return (line.replace(self.endpoint.api_key, "***") if self.endpoint.api_key else line)[:SHOWN]
