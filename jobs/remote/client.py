"""Client of a Ray cluster's Jobs API over HTTP."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from jobs.remote.endpoint import ADDRESS_VARIABLE
from pipeline import GPU_ADVICE, PATIENCE_TO_CONNECT
from pipeline.errors import RunError, SettingsError, bounded_text
from pipeline.storage.redaction import public_uri, without_secrets

RAYS, PYTHONS = ">=2.60,<2.64", ">=3.11"
"""Versions of Ray and Python that this code can run with on a cluster, the same as in pyproject.toml."""
PATIENCE = 30.0
"""Seconds to wait for the cluster to answer a request."""

_LOGGERS = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env",
)

_OF_THE_SYSTEM = re.compile(r"\[Errno -?\d+\] [\w ]+")

Result = TypeVar("Result")


@dataclass(frozen=True)
class SubmittedJob:
    """One of our jobs on a cluster.

    Attributes:
        id: its submission id.
        state: as reported by Ray: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.
        name: of the work; all attempts share it.
        attempt: number of this attempt, from 1.
        source, dest: public addresses.
        mark: unique identifier of its run: a new cluster may reuse the id of an old job.
        started, ended: seconds since 1970, or None.
        exit_code: of its process, or None.
        message: Ray's message about it.
    """

    id: str
    state: str
    name: str
    attempt: int
    source: str
    dest: str
    mark: str
    started: float | None
    ended: float | None
    exit_code: int | None
    message: str

    @property
    def is_over(self) -> bool:
        """Whether the job has ended."""
        return self.state in ("STOPPED", "SUCCEEDED", "FAILED")


class Cluster:
    """The Jobs API at an address.

    Args:
        address: `http://HEAD:8265`; the protocol is http by default.

    Raises:
        SettingsError: no Jobs API answers at the address, it wants a token, or its Ray or Python does not fit
            this code.
    """

    def __init__(self, address: str) -> None:
        self._url = address.rstrip("/") if "://" in address else f"http://{address.rstrip('/')}"
        self.address = public_uri(self._url)
        self._require_listener()
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient

        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        # Ray prefers its environment variables to the address in the argument.
        os.environ[ADDRESS_VARIABLE] = self._url
        try:
            self._client = JobSubmissionClient(self._url)
            self._require_versions()
        except AuthenticationError as error:
            raise SettingsError(
                f"{self.address} wants the token of its cluster: export it as RAY_AUTH_TOKEN, beside "
                "RAY_AUTH_MODE=token; on Kubernetes it is auth_token in the secret of the cluster's name"
            ) from error
        except (OSError, RuntimeError, KeyError) as error:
            raise SettingsError(
                f"{self.address} is not the Jobs API of a Ray ({_reason(error).rstrip('.')}): "
                "give the address of its dashboard, whose port is 8265 by default"
            ) from error

    def require_gpus(self, count: int) -> None:
        """Raise SettingsError if all nodes of the cluster together have fewer GPUs."""
        nodes = self._ask("/api/v0/nodes?detail=1")["result"]["result"]
        alive = [node for node in nodes if node["state"] == "ALIVE"]
        there = int(sum(node["resources_total"].get("GPU", 0) for node in alive))
        if there < count:
            raise SettingsError(
                f"the {len(alive)} nodes of {self.address} have {there} GPUs and {count} were asked for: "
                f"{GPU_ADVICE}"
            )

    def submit(
        self, entrypoint: str, submission_id: str, runtime_env: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        """Start a job.

        Raises:
            SettingsError: a job with this id exists: somebody else has just submitted it.
            RunError: the cluster does not accept it.
        """
        try:
            self._client.submit_job(
                entrypoint=entrypoint,
                submission_id=submission_id,
                runtime_env=dict(runtime_env),
                metadata=dict(labels),
            )
        except (OSError, RuntimeError) as error:
            if "already exists" in str(error):
                raise SettingsError(
                    f"this work was submitted just now as {submission_id}: "
                    f"`i2r jobs status {submission_id}` shows it"
                ) from error
            raise self._lost(error) from error

    def jobs(self) -> list[SubmittedJob]:
        """Our jobs that the cluster knows, oldest first."""
        found = self._call(self._client.list_jobs)
        ours = [_job(details) for details in found if "i2r_name" in (details.metadata or {})]
        return sorted(ours, key=lambda job: (job.started or float("inf"), job.attempt))

    def job(self, submission_id: str) -> SubmittedJob:
        """One of our jobs. Raises SettingsError if there is none with this id."""
        try:
            details = self._client.get_job_info(submission_id)
        except RuntimeError as error:
            if "404" not in str(error):
                raise self._lost(error) from error
            details = None
        except OSError as error:
            raise self._lost(error) from error
        if details is None or "i2r_name" not in (details.metadata or {}):
            raise SettingsError(
                f"{self.address} knows no job of ours called {submission_id!r}: `i2r jobs list` shows them"
            )
        return _job(details)

    def stop(self, submission_id: str) -> None:
        """Request a job to stop; it first records what is finished."""
        self._call(lambda: self._client.stop_job(submission_id))

    def logs(self, submission_id: str) -> str:
        """The output of a job so far."""
        return str(self._call(lambda: self._client.get_job_logs(submission_id)))

    def follow(self, submission_id: str, write: Callable[[str], None]) -> None:
        """Pass a job's output to `write` until it ends. Raises RunError if the cluster stops answering."""

        async def tail() -> None:
            async for text in self._client.tail_job_logs(submission_id):
                write(text)

        self._call(lambda: asyncio.run(tail()))

    def _require_listener(self) -> None:
        parts = urlsplit(self._url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"{self.address} is no address of a Jobs API: give http://HEAD:8265")
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            socket.create_connection((parts.hostname, port), timeout=PATIENCE_TO_CONNECT).close()
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"nothing answers at {self.address} ({error}): start the cluster, forward its port 8265, "
                "or check --address"
            ) from error

    def _require_versions(self) -> None:
        there = self._ask("/api/v0/cluster_metadata")
        if problem := misfit(there["rayVersion"], there["pythonVersion"]):
            raise SettingsError(f"{self.address} is not the Jobs API of a Ray that fits: {problem}")

    def _ask(self, path: str) -> dict[str, Any]:
        """Request a path for which Ray's client has no method."""
        answer = self._call(lambda: self._client._do_request("GET", path, timeout=PATIENCE))
        if answer.status_code != 200:
            raise RunError(f"{self.address}{path} answers {answer.status_code}: is it a Ray cluster?")
        return dict(answer.json()["data"])

    def _call(self, action: Callable[[], Result]) -> Result:
        try:
            return action()
        except (OSError, RuntimeError) as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> RunError:
        problem = f"the cluster at {self.address} does not answer as it should ({_reason(error)})"
        if "status code" in str(error):
            return RunError(f"{problem}: open its dashboard")
        return RunError(
            f"{problem}: if its head has died, start it again and submit the same work, "
            "which goes on where it was"
        )


def misfit(ray: str, python: str) -> str | None:
    """Why the versions of a cluster's Ray and Python do not fit, and the fix; None if they fit."""
    from packaging.specifiers import SpecifierSet

    if ray not in SpecifierSet(RAYS):
        return f"it runs Ray {ray}, and {RAYS} is needed: start it from an image that has that"
    if python not in SpecifierSet(PYTHONS):
        return f"it runs Python {python}, and {PYTHONS} is needed: start it from an image that has that"
    return None


def _job(details: Any) -> SubmittedJob:
    labels = details.metadata
    return SubmittedJob(
        id=details.submission_id,
        state=str(details.status.value),
        name=labels["i2r_name"],
        attempt=int(labels["i2r_attempt"]),
        source=labels["i2r_source"],
        dest=labels["i2r_dest"],
        mark=labels["i2r_mark"],
        started=details.start_time / 1000 if details.start_time else None,
        ended=details.end_time / 1000 if details.end_time else None,
        exit_code=details.driver_exit_code,
        message=details.message or "",
    )


def _reason(error: Exception) -> str:
    """The reason of an error in one line: the system's error if the text has one, else the whole text."""
    text = without_secrets(str(error))
    return bounded_text(found[0] if (found := _OF_THE_SYSTEM.search(text)) else text) or type(error).__name__
