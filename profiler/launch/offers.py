# SPDX-License-Identifier: Apache-2.0
"""What planned runs would cost, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from profiler.launch.task import Limits, yaml_of

if TYPE_CHECKING:
    from profiler.launch.run import Planned

SHOWN = 3


def ceiling_usd(planned: Sequence[Planned], limits: Limits) -> float:
    """Most that the runs can cost while they run: dearest offer times longest duration.

    Starting a machine and pulling an image is billed by most clouds and comes on top.
    """
    return sum(_price(run, limits) for run in planned) * limits.max_duration_s / 3600


def _price(run: Planned, limits: Limits) -> float:
    """Dearest price that a run may be placed at; nothing if it cannot be placed."""
    if run.plan is None or not run.plan.offers:
        return 0.0
    return min(run.plan.highest_usd_per_h, limits.max_price_usd_per_h)


def offer_text(planned: Sequence[Planned], limits: Limits) -> str:
    """Offers of every run, and the ceiling."""
    lines = []
    for run in planned:
        lines.append(f"{run.task['name']}  {run.target.word}  {run.task['image']}")
        if run.problem or run.plan is None:
            lines.append(f"  {run.problem or 'not planned'}")
            continue
        for offer in sorted(run.plan.offers, key=lambda o: o.price_usd_per_h)[:SHOWN]:
            spot = "spot" if offer.spot else "on demand"
            lines.append(
                f"  {offer.price_usd_per_h:6.2f} USD/h  {offer.gpus}  {spot}  {offer.instance}  "
                f"{offer.region} ({offer.backend}, {offer.availability})"
            )
        if run.plan.total > SHOWN:
            lines.append(f"  and {run.plan.total - SHOWN} more")
    total = ceiling_usd(planned, limits)
    tries = " per try" if limits.retry_for else ""
    lines.append(
        f"at most {total:.2f} USD{tries}: {limits.max_duration} at the dearest of these offers; "
        f"start-up of the machines comes on top"
    )
    return "\n".join(lines)


def planned_json(run: Planned, limits: Limits) -> dict[str, Any]:
    """One planned run as JSON values."""
    offers = () if run.plan is None else run.plan.offers
    return {
        "name": run.task["name"],
        "gpu": run.target.word,
        "task": run.task,
        "yaml": yaml_of(run.task),
        "problem": run.problem,
        "ceiling_usd": _price(run, limits) * limits.max_duration_s / 3600 if run.plan else None,
        "offers": [
            {
                "backend": offer.backend,
                "instance": offer.instance,
                "region": offer.region,
                "price_usd_per_h": offer.price_usd_per_h,
                "spot": offer.spot,
                "gpus": offer.gpus,
            }
            for offer in offers
        ],
    }
