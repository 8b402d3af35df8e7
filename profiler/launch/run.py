# SPDX-License-Identifier: Apache-2.0
"""``roofline profile --dstack``: from the question to rows in the store.

Plan every machine, show what it would cost, ask, submit all, follow them together, and
keep what comes back. One machine that cannot be had, or dies, costs the others nothing.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from profiler.launch.ask import Ask
from profiler.launch.digest import pinned
from profiler.launch.engines import Step, steps_of
from profiler.launch.follow import Followed, come_back, follow_shown
from profiler.launch.offers import ceiling_usd, offer_text, planned_json
from profiler.launch.options import ask_of, limits_of
from profiler.launch.payload import payload, plan_of
from profiler.launch.results import Collected, collect
from profiler.launch.server import DstackServer, Plan
from profiler.launch.targets import Target, target_of, targets_of
from profiler.launch.task import (
    ASK_VARIABLE,
    TARGET_VARIABLE,
    Limits,
    fleet_of,
    image_of,
    task_of,
    yaml_of,
)
from specs.errors import InvalidInputError, LaunchError

MEASURING_FRAC = 0.75
"""Share of the longest duration that measuring may take: the rest installs and builds, and a
run that stops by itself is whole where one that is stopped is partial."""


@dataclass(slots=True, kw_only=True)
class Planned:
    """One run before it exists."""

    target: Target
    task: dict[str, Any]
    plan: Plan | None = None
    problem: str = ""


def run_launch(args: Namespace) -> None:
    """Do what `args` ask for; see `profiler.launch.run_launch`."""
    if args.attach:
        _attach(args)
        return
    ask, limits = ask_of(args), limits_of(args)
    targets = targets_of(args.gpu or "")
    if ask.max_minutes is None:
        ask = replace(ask, max_minutes=MEASURING_FRAC * limits.max_duration_s / 60)
    wanted = [
        (target, steps_of(ask, target), image_of(ask, target, args.image)) for target in targets
    ]
    server, why = _server(args)
    with tempfile.TemporaryDirectory(prefix="roofline-") as folder:
        place = Path(args.save_yaml or folder).resolve()
        planned = [_prepare(*one, ask, limits, args, place) for one in wanted]
        fleet = fleet_of(limits)
        if args.save_yaml:
            _save(planned, fleet, place)
        if server is None:
            _print_dry(args, planned, fleet, checked="")
            _note(f"not checked: {why}")
            return
        has_fleet = _plan_all(server, planned, limits)
        if args.dry_run:
            _print_dry(args, planned, fleet, checked=server.url)
            _require_offers(planned)
            return
        _require_offers(planned)
        _confirm(args, planned, limits)
        if not has_fleet:
            server.create_fleet(fleet)
        names = _submit(server, planned)
    if args.detach:
        _note(come_back(names))
        _write(args, {"runs": names}, "\n".join(names))
        return
    _finish(server, names, args, [run for run in planned if run.problem])


def _prepare(
    target: Target,
    steps: Sequence[Step],
    image: str,
    ask: Ask,
    limits: Limits,
    args: Namespace,
    place: Path,
) -> Planned:
    """Task and payload of one target; the payload file is written."""
    if not args.dry_run:
        image, note = pinned(image)
        if note:
            _note(note)
    name = _name(args.name or "roofline", target)
    path = place / f"{name}.zip"
    plan = plan_of(name, steps)
    data = payload(plan, whole=ask.engine == "transformers")
    place.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    task = task_of(name, ask, target, limits, image=image, payload=str(path))
    return Planned(target=target, task=task)


def _name(prefix: str, target: Target) -> str:
    """Name of a run: dstack takes 41 letters, digits and dashes."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,19}", prefix):
        raise InvalidInputError(
            f"--name {prefix!r:.40} must be a letter, then letters, digits, dashes; 20 at most."
        )
    return f"{prefix}-{target.slug[:12].strip('-')}-{secrets.token_hex(3)}"


def _server(args: Namespace) -> tuple[DstackServer | None, str]:
    """Open the project; none, and why, where a dry run does without it, and only there."""
    try:
        return DstackServer(args.project), ""
    except LaunchError as error:
        if not args.dry_run:
            raise
        return None, str(error)


def _plan_all(server: DstackServer, planned: Sequence[Planned], limits: Limits) -> bool:
    """Ask for the offers of every run; whether the fleet exists."""
    missing = server.missing_secrets(set(limits.secrets.values()))
    if missing:
        raise LaunchError(
            f"no secret {', '.join(missing)} in project {server.project}; store it with: "
            f"dstack secret set {missing[0]} VALUE"
        )
    problem = server.fleet_problem(limits.fleet)
    if problem:
        _note(problem)
    for run in planned:
        try:
            run.plan = server.plan(run.task, fleet_exists=problem is not None)
        except LaunchError as error:
            run.problem = str(error)
            continue
        if not run.plan.offers:
            run.problem = (
                f"no offer for {run.target.word} at {limits.max_price_usd_per_h:g} USD/h or less"
            )
    return problem is not None


def _require_offers(planned: Sequence[Planned]) -> None:
    problems = [run.problem for run in planned if run.problem]
    for problem in problems if len(problems) < len(planned) else ():
        _note(f"{problem}; it is left out")
    if len(problems) == len(planned):
        raise LaunchError(
            f"{'; '.join(problems).rstrip('.')}. Raise --max-price, widen --spot, --region or "
            f"--disk, or add a cloud to the dstack project."
        )


def _confirm(args: Namespace, planned: Sequence[Planned], limits: Limits) -> None:
    """Show offers and the ceiling, and ask, unless told not to."""
    _note(offer_text(planned, limits))
    if args.yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise LaunchError("nobody is there to confirm the cost; look at it, and add --yes.")
    total = ceiling_usd(planned, limits)
    print(f"Rent now, for at most {total:.2f} USD? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise LaunchError("nothing was rented.")


def _submit(server: DstackServer, planned: Sequence[Planned]) -> list[str]:
    """Submit every run that has offers; those that fail are noted, the others go on."""
    names = []
    for run in planned:
        if run.problem:
            continue
        try:
            names.append(server.submit(run.task))
            _note(f"submitted {names[-1]}")
        except LaunchError as error:
            run.problem = str(error)
            _note(run.problem)
        except KeyboardInterrupt:
            _note(f"\n{come_back([*names, run.task['name']])}")
            raise
    if not names:
        raise LaunchError(planned[0].problem)
    return names


def _attach(args: Namespace) -> None:
    server = DstackServer(args.project)
    names = [name.strip() for name in args.attach.split(",") if name.strip()]
    for name in names:
        server.state(name)  # an unknown name is told before anything is waited for
    _finish(server, names, args, [])


def _finish(
    server: DstackServer, names: list[str], args: Namespace, left_out: Sequence[Planned]
) -> None:
    """Follow, collect, keep, report."""
    try:
        runs = follow_shown(server, names)
    except KeyboardInterrupt:
        _note(f"\n{come_back(names)}")
        raise
    answers, failed = [], [run.problem for run in left_out]
    for run in runs:
        answer, problem = _keep(run, server, args)
        answers.append(answer)
        failed += [problem] if problem else []
    text = "\n".join(_summary(answer) for answer in answers)
    _write(args, {"runs": answers, "left_out": [run.problem for run in left_out]}, text)
    if failed:
        asked = len(runs) + len(left_out)
        raise LaunchError(f"{len(failed)} of {asked} runs gave nothing: {'; '.join(failed)}")


def _keep(run: Followed, server: DstackServer, args: Namespace) -> tuple[dict[str, Any], str]:
    """Put a run's rows into the store; the answer, and why there is none."""
    from profiler.store import Store

    assert run.state is not None
    state = run.state
    try:
        ask = Ask.from_json(state.env.get(ASK_VARIABLE, ""))
        target = target_of(state.env.get(TARGET_VARIABLE, ""))
    except InvalidInputError as error:
        return {"run": run.name, "status": state.status, "rows": 0}, f"{run.name}: {error}"
    found = collect(state, run.decoded, ask, target, project=server.project)
    store = Store(args.store)
    held = store.points(run.name)
    new = [row for row in found.rows if row.point_id not in held]
    if new:
        store.append(new)
    _keep_unread(found, store.path)
    for note in found.notes:
        _note(f"{run.name}: {note}")
    answer = {
        "run": run.name,
        "status": state.status,
        "reason": state.reason,
        "rows": len(found.rows),
        "measured": found.measured,
        "new": len(new),
        "complete": run.decoded.complete,
        "instance": state.place.instance,
        "region": state.place.region,
        "price_usd_per_h": state.place.price_usd_per_h,
        "cost_usd": state.cost_usd,
        "store": str(store.path),
    }
    problem = "" if found.measured else f"{run.name}: {_nothing(run)}"
    return answer, problem


def _nothing(run: Followed) -> str:
    """Why a run measured nothing: its end, or what its steps said."""
    assert run.state is not None
    errors = [b["error"] for b in run.decoded.blocks if b.get("kind") == "result" and b["error"]]
    said = f"{run.state.reason}: " if run.state.reason else ""
    if errors:
        return f"{said}{errors[0]}"
    tail = [line.strip() for line in run.log.decode("utf-8", "replace").splitlines()]
    last = next((line for line in reversed(tail) if line and "@roofline1" not in line), "")
    return f"{said}{last[:200] or 'its log is empty'}"


def _keep_unread(found: Collected, store: Path) -> None:
    if not found.unread:
        return
    folder = store.parent / "unread"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in found.unread.items():
        (folder / name).write_text(text, encoding="utf-8")
    _note(f"kept as they came, for roofline import: {folder}")


def _summary(answer: dict[str, Any]) -> str:
    if "measured" not in answer:
        return f"{answer['run']}: {answer['status']}, not a run of roofline"
    words = f"{answer['run']}: {answer['status']}, {answer['measured']} points measured"
    if answer["rows"] > answer["measured"]:
        words += f", {answer['rows'] - answer['measured']} failed"
    if not answer.get("complete"):
        words += ", partial"
    if answer.get("cost_usd"):
        words += f", {answer['cost_usd']:.2f} USD"
    return words + (f"; {answer['reason']}" if answer.get("reason") else "")


def _save(planned: Sequence[Planned], fleet: dict[str, Any], place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for configuration in (fleet, *(run.task for run in planned)):
        path = place / f"{configuration['name']}.dstack.yml"
        path.write_text(yaml_of(configuration), encoding="utf-8")
    _note(f"written to {place}: apply the fleet first, then the tasks, with dstack apply -f")


def _print_dry(
    args: Namespace, planned: Sequence[Planned], fleet: dict[str, Any], *, checked: str
) -> None:
    """YAML on stdout, with the offers where a server was asked."""
    limits = limits_of(args)
    documents = [yaml_of(fleet), *(yaml_of(run.task) for run in planned)]
    answer = {
        "checked": checked or None,
        "fleet": fleet,
        "runs": [planned_json(run, limits) for run in planned],
    }
    _write(args, answer, "---\n".join(documents).rstrip("\n"))
    if not args.save_yaml:
        _note("the tasks carry a file that is not kept now; add --save-yaml DIR to apply by hand")
    if checked:
        _note(offer_text(planned, limits))
        _note(f"checked by {checked}; nothing was rented")


def _write(args: Namespace, answer: dict[str, Any], text: str) -> None:
    sys.stdout.write((json.dumps(answer, indent=2) if args.json else text) + "\n")
    sys.stdout.flush()


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
