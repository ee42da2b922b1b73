"""Learning-rate schedules as factors on the rate.

Milestones: torch.optim.lr_scheduler.MultiStepLR. Cosine: Loshchilov and Hutter, "SGDR" (ICLR 2017), equation 5, one
period to 0, counted in batches as CosineAnnealingLR stepped after each batch. Warm-up: Goyal et al., "Accurate,
Large Minibatch SGD" (2017), section 2.2, "gradual warmup": a constant amount more at each batch, so that the last
batch of the warm-up is the first with the full rate; as `warmup_lr` of OPTML-Group/Unlearn-Saliency counts it.
"""

import math

from faults import planted
from protocol import Malformed, Settings

FAULTS = ["shifted-schedule", "cosine-by-epoch", "milestone-too-early", "warm-up-ignored"]


def list_faults(case, _inputs=None):
    """The faults that can show in this case."""
    return list_schedule_faults(case["schedule"])


def list_schedule_faults(schedule):
    """The faults that can show with this schedule."""
    if schedule == "constant":
        return []
    marks = {
        "shifted-schedule": "",
        "cosine-by-epoch": "cosine",
        "milestone-too-early": "milestones",
        "warm-up-ignored": "warm-up",
    }
    return [fault for fault, mark in marks.items() if mark in str(schedule)]


def factor_at(schedule, epoch, batch, batches, epochs):
    """Factor on the rate for batch `batch` (from 0) of epoch `epoch` (from 0), of `batches` in each of `epochs`."""
    return _factor(schedule, epoch + planted("shifted-schedule"), batch, batches, epochs)


def _factor(schedule, epoch, batch, batches, epochs):
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        done = (epoch if planted("cosine-by-epoch") else epoch + batch / batches) / epochs
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    if not isinstance(schedule, dict) or set(schedule) not in ({"milestones"}, {"warm-up"}):
        raise Malformed(f"schedule {schedule!r} is not constant, cosine, milestones or warm-up")
    ((name, table),) = schedule.items()
    settings = Settings(table, f"schedule.{name}")
    if name == "milestones":
        at, factor = settings.get("epochs", required=True), settings.get("factor", default=0.1)
        settings.finish()
        return factor ** sum(epoch + planted("milestone-too-early") >= milestone for milestone in at)
    length, start = settings.get("epochs", required=True), settings.get("from", default=0.0)
    then = settings.get("then", default="constant")
    settings.finish()
    if epoch < length and not planted("warm-up-ignored"):
        return start + (1 - start) * (epoch * batches + batch + 1) / (length * batches)
    if then == "cosine":  # over what the warm-up left; milestones count from the beginning
        return _factor("cosine", max(epoch - length, 0), batch, batches, epochs - length)
    return _factor(then, epoch, batch, batches, epochs)


def compute(case, _inputs):
    """Kind `schedule`: one factor for each pair (epoch, batch) of `at`, both from 0."""
    factors = [
        factor_at(case["schedule"], epoch, batch, case["batches"], case["epochs"]) for epoch, batch in case["at"]
    ]
    return {}, {"factors": factors}
