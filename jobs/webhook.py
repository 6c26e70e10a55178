"""Posts the summary of a run as JSON to a webhook, whose address is in an environment variable.

`--webhook-env NAME` names a variable with the address; `NAME_TOKEN`, if there is one, is sent as a bearer
token. Neither is logged, stored or passed as an argument: the address of a webhook is itself a secret.
"""

from __future__ import annotations

import json
import logging
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipeline.errors import SettingsError

if TYPE_CHECKING:
    from pipeline.records.summary import RunSummary

PAUSES = (1.0, 4.0)
"""Seconds before the second attempt and before the third and last."""
SECONDS_TO_ANSWER = 10.0
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

logger = logging.getLogger(__name__)


def check_variable(name: str) -> str:
    """Check and return the name of a variable. Raises SettingsError."""
    from pipeline.settings import ENVIRONMENT_PREFIX

    if not _NAME.fullmatch(name):
        # The message does not repeat the text: it may be the address, given by mistake.
        raise SettingsError(
            "--webhook-env takes the name of a variable that holds the address, not the address"
        )
    if name.startswith(ENVIRONMENT_PREFIX):
        raise SettingsError(
            f"--webhook-env {name}: {ENVIRONMENT_PREFIX}… are settings, give the variable another name"
        )
    return name


class Webhook:
    """A webhook that accepts JSON.

    Args:
        name: of the variable with the address.
        environment: of this process.

    Raises:
        SettingsError: the variable holds no address.
    """

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self._name = check_variable(name)
        self._address = environment.get(name, "").strip()
        self._token = environment.get(f"{name}_TOKEN", "").strip()
        if not self._address:
            raise SettingsError(
                f"--webhook-env {name}: the variable is not set: export the address under that name"
            )
        if not _is_web_address(self._address):
            raise SettingsError(f"--webhook-env {name}: the variable holds no http or https address")

    def post(self, record: Mapping[str, Any]) -> bool:
        """Post a record, in at most three attempts. Returns whether it arrived; a failure is only logged."""
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(
            self._address, json.dumps(record, default=str).encode(), headers, method="POST"
        )
        opener = urllib.request.build_opener(_NoRedirect)
        reason = ""
        for pause in (0.0, *PAUSES):
            time.sleep(pause)
            try:
                opener.open(request, timeout=SECONDS_TO_ANSWER).close()
                return True
            except urllib.error.HTTPError as error:
                reason = f"it answered with status {error.code}"
                error.close()
                if error.code < 500 and error.code != 429:
                    break
            except (OSError, ValueError) as error:
                cause = getattr(error, "reason", error)
                reason = f"it cannot be reached ({type(cause).__name__})"  # its text may hold the address
        logger.warning("the summary was not delivered to the webhook in %s: %s", self._name, reason)
        return False


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirects: the token is meant for one host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def summary_record(summary: RunSummary) -> dict[str, Any]:
    """The record posted for a run that ended: its summary, its exit status and one line of text."""
    from jobs.views.findings import counts_in_words
    from jobs.views.progress import duration

    counts = ", ".join(f"{number} {name}" for name, number in summary.counts.items() if number)
    line = f"{summary.dest}: {counts or 'nothing to do'} in {duration(summary.seconds)}"
    if summary.failed:
        line += f"; {summary.failures}"
    if summary.findings:
        line += f"; found {counts_in_words(summary.findings)}"
    if summary.stopped:
        line += f"; stopped early, {summary.stopped}"
    return {"text": line, "exit_status": int(summary.exit_status), **asdict(summary)}


def error_record(dest: str, error: Exception, exit_status: int) -> dict[str, Any]:
    """The record posted for a run that could not finish."""
    from pipeline.storage.redaction import public_uri

    dest = public_uri(dest)
    return {"text": f"{dest}: {error}", "exit_status": exit_status, "dest": dest, "error": str(error)}
