# SPDX-License-Identifier: Apache-2.0
"""The user's dstack server, as far as profiling needs it.

All use of the ``dstack`` package is here, and every failure of it leaves as a
`LaunchError` of one line. Written against dstack 0.22.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from specs.errors import LaunchError

INSTALL = "pip install 'roofline[dstack]'"

REASONS: Mapping[str, str] = {
    "failed_to_start_due_to_no_capacity": "no machine could be had at this price",
    "interrupted_by_no_capacity": "the spot machine was taken back",
    "instance_unreachable": "the machine stopped answering",
    "waiting_instance_limit_exceeded": "the machine did not start in time",
    "waiting_runner_limit_exceeded": "the image was not ready in time",
    "terminated_by_user": "stopped by a user",
    "aborted_by_user": "aborted by a user",
    "terminated_by_server": "ended by the server",
    "container_exited_with_error": "the job failed",
    "creating_container_error": "the container could not be made",
    "executor_error": "the job could not be started",
    "max_duration_exceeded": "the longest duration was over",
    "log_quota_exceeded": "the log quota of the server was used up",
}
"""Why a run ended without finishing, by dstack's ``JobTerminationReason``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One machine that could be rented now."""

    backend: str
    instance: str
    region: str
    price_usd_per_h: float
    spot: bool
    gpus: str
    availability: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the server would do with a task: its offers within the price, cheapest known."""

    offers: tuple[Offer, ...]
    total: int
    highest_usd_per_h: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a run is, or was."""

    backend: str = ""
    instance: str = ""
    region: str = ""
    price_usd_per_h: float | None = None
    gpu: str = ""
    gpus: int = 0
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """One look at a run.

    Parameters
    ----------
    status : str
        dstack's word, such as "provisioning" or "done".
    finished : bool
    reason : str
        Why it ended, in words, with the exit status; "" while it runs or if all went well.
    submissions : tuple of str
        Tries, oldest first: each has a log of its own.
    """

    name: str
    status: str
    finished: bool
    reason: str
    submissions: tuple[str, ...]
    place: Place
    image: str
    env: Mapping[str, str]
    cost_usd: float


class LogReader:
    """The log of one try, read from where it was left.

    A page that is full never changes, so its token is where the next look begins; the last
    page is read again each time. Nothing is skipped by time, of which two lines may share one.
    """

    def __init__(self, server: DstackServer, run: str, submission: str) -> None:
        self._server, self._run, self._submission = server, run, submission
        self._settled, self._token = b"", None  # type: bytes, str | None
        self._page = b""

    def read(self) -> bytes:
        """The whole log so far."""
        while True:
            data, following = self._server.log_page(self._run, self._submission, self._token)
            if following is None:
                self._page = data
                return self._settled + data
            self._settled, self._token = self._settled + data, following


class DstackServer:
    """A connection to one project.

    Parameters
    ----------
    project : str, optional
        Name; the default one of ``~/.dstack/config.yml``, or of ``DSTACK_PROJECT``.

    Raises
    ------
    LaunchError
        dstack is not installed or not configured, or the server refuses.
    """

    def __init__(self, project: str | None = None) -> None:
        try:
            from dstack.api import Client
        except ImportError:
            raise LaunchError(
                f"a rented machine needs the dstack package, which is not installed: {INSTALL}."
            ) from None
        logging.getLogger("dstack").setLevel(logging.ERROR)
        self._project, self._url = project or "", ""
        with self._errors("connect"):
            self._client: Any = Client.from_config(project_name=project)
        self._project, self._url = self._client.project, self._client.client.base_url
        with self._errors("open the project"):
            self._client.client.projects.get(self._project)

    @property
    def project(self) -> str:
        """Name of the project."""
        return self._project

    @property
    def url(self) -> str:
        """Address of the server."""
        return self._url

    def missing_secrets(self, names: set[str]) -> list[str]:
        """Those of `names` that the project does not hold."""
        if not names:
            return []
        with self._errors("list the secrets"):
            held = {secret.name for secret in self._client.client.secrets.list(self._project)}
        return sorted(names - held)

    def fleet_problem(self, name: str) -> str | None:
        """None if there is no such fleet, else what is wrong with it ("" if nothing)."""
        with self._errors("list the fleets"):
            fleets = self._client.client.fleets.list(self._project)
        fleet = next((fleet for fleet in fleets if fleet.name == name), None)
        if fleet is None:
            return None
        policy = fleet.spec.configuration.spot_policy
        if policy is None or policy.value != "auto":
            return f"fleet {name} has no spot_policy: auto, so spot offers do not show"
        return ""

    def create_fleet(self, configuration: Mapping[str, Any]) -> None:
        """Make a fleet template; it rents nothing by itself."""
        from dstack._internal.core.models.configurations import parse_apply_configuration
        from dstack._internal.core.models.fleets import FleetSpec
        from dstack._internal.core.models.profiles import Profile

        with self._errors("create the fleet"):
            parsed = parse_apply_configuration(dict(configuration))
            spec = FleetSpec(configuration=parsed, profile=Profile(name="default"))
            fleets = self._client.client.fleets
            plan = fleets.get_plan(self._project, spec)
            if plan.current_resource is None:  # else somebody has just made it
                fleets.apply_plan(self._project, plan)

    def plan(self, task: Mapping[str, Any], *, fleet_exists: bool) -> Plan:
        """Offers for a task, as the server sees them now."""
        with self._errors(f"plan {task['name']}"):
            plan = self._plan(task, offers_only=not fleet_exists)
            job = plan.job_plans[0]
            return Plan(
                offers=tuple(_offer(offer) for offer in job.offers),
                total=job.total_offers,
                highest_usd_per_h=job.max_price or 0.0,
            )

    def submit(self, task: Mapping[str, Any]) -> str:
        """Submit a task, which may cost money from now on; its name."""
        with self._errors(f"submit {task['name']}"):
            plan = self._plan(task, offers_only=False)
            run = self._client.runs.apply_plan(plan, reserve_ports=False)
            return str(run.name)

    def state(self, name: str) -> RunState:
        """Look at a run.

        Raises
        ------
        LaunchError
            There is none of that name.
        """
        with self._errors(f"find the run {name}"):
            run = self._client.client.runs.get(self._project, name)
        return _state(run)

    def log_page(self, run: str, submission: str, token: str | None) -> tuple[bytes, str | None]:
        """One page of a try's log, and where the next one begins, if there is one."""
        from dstack._internal.server.schemas.logs import PollLogsRequest

        with self._errors(f"read the log of {run}"):
            request = PollLogsRequest(
                run_name=run, job_submission_id=submission, next_token=token, limit=1000
            )
            page = self._client.client.logs.poll(self._project, request)
        data = b"".join(base64.b64decode(event.message) for event in page.logs)
        return data, page.next_token

    def _plan(self, task: Mapping[str, Any], *, offers_only: bool) -> Any:
        from dstack.api import Task

        given = dict(task)
        if offers_only:
            del given["fleets"]  # one that is not there yet has no offers
        return self._client.runs.get_run_plan(
            configuration=Task.model_validate(given), max_offers=20, for_offers_only=offers_only
        )

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        """Turn what dstack raises into one line."""
        from dstack._internal.core.errors import (
            DstackError,
            ResourceNotExistsError,
            URLNotFoundError,
        )
        from pydantic import ValidationError

        where = f"{self._url or 'the dstack server'}"
        try:
            yield
        except URLNotFoundError:
            raise LaunchError(
                f"no project {self._project!r:.60} on {where}; see dstack project list, and "
                f"give --project."
            ) from None
        except ResourceNotExistsError as error:
            raise LaunchError(
                f"cannot {action} in project {self._project}: {_line(error)}; see dstack ps -a."
            ) from None
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise LaunchError(f"dstack does not take the YAML: {key}: {first['msg']}.") from None
        except DstackError as error:
            raise LaunchError(f"cannot {action}: {_explained(error, where)}") from None
        except OSError as error:
            raise LaunchError(f"cannot {action} on {where}: {_line(error)}.") from None


def _explained(error: Exception, where: str) -> str:
    text = _line(error)
    if "Failed to connect" in text:
        return f"no dstack server answers at {where}; start it, or see dstack project list."
    if "denied" in text:
        return f"{where} refuses the token; renew it with dstack project add or dstack login."
    if "not configured" in text or "No default project" in text:
        return f"{text}; add it with dstack project add, or set DSTACK_SERVER_URL and DSTACK_TOKEN."
    return f"{text.rstrip('.')}."


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _offer(offer: Any) -> Offer:
    resources = offer.instance.resources
    gpus = ", ".join(sorted({gpu.name for gpu in resources.gpus}))
    return Offer(
        backend=offer.backend.value,
        instance=offer.instance.name,
        region=offer.region,
        price_usd_per_h=offer.price,
        spot=bool(resources.spot),
        gpus=f"{len(resources.gpus)} x {gpus}" if gpus else "cpu",
        availability=offer.availability.value,
    )


def _state(run: Any) -> RunState:
    tries = run.jobs[0].job_submissions if run.jobs else []
    last = tries[-1] if tries else None
    configuration = run.run_spec.configuration
    env = dict(configuration.env.as_dict()) if configuration.env else {}
    status = run.status.value
    return RunState(
        name=run.run_spec.run_name,
        status=status,
        finished=run.status.is_finished(),
        reason="" if status == "done" or not run.status.is_finished() else _reason(run, last),
        submissions=tuple(str(attempt.id) for attempt in tries),
        place=_place(next((t for t in reversed(tries) if t.job_provisioning_data), None)),
        image=str(getattr(configuration, "image", "") or ""),
        env={name: str(value) for name, value in env.items()},
        cost_usd=float(run.cost or 0.0),
    )


def _reason(run: Any, last: Any) -> str:
    """Why a finished run is not done, in words."""
    code = (last.termination_reason if last is not None else "") or run.termination_reason or ""
    code = str(getattr(code, "value", code))
    words = REASONS.get(code, code.replace("_", " ") or run.status.value)
    if last is not None and last.exit_status:
        words += f" with exit status {last.exit_status}"
    message = (last.termination_reason_message or "") if last is not None else ""
    said = " ".join(message.split())[:160]
    return f"{words} ({said})" if said and said.lower() not in words else words


def _place(attempt: Any) -> Place:
    if attempt is None:
        return Place()
    data = attempt.job_provisioning_data
    gpus = data.instance_type.resources.gpus
    return Place(
        backend=data.backend.value,
        instance=data.instance_type.name,
        region=data.region,
        price_usd_per_h=data.price,
        gpu=gpus[0].name if gpus else "",
        gpus=len(gpus),
        host=data.hostname or "",
    )
