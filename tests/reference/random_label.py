"""Random Label and SalUn, as published (with D_r) and the forget-only variants.

Random Label: Golatkar et al. (CVPR 2020), the baseline "Random Labels"; labels drawn once and from the wrong ones
alone: Graves, Nagisetty, Ganesh, "Amnesiac Machine Learning" (AAAI 2021). SalUn: Fan et al. (ICLR 2024), section 4,
the weight saliency map and the update under it:

    m = 1[ |gradient of the forgetting loss at theta_o| >= gamma ]
    theta_u = m * (theta_o + d_theta) + (1 - m) * theta_o,  by CE under random labels on D_f plus CE on D_r

Held against Classification/unlearn/RL.py (for CIFAR-10 and SVHN a pass over D_f under fresh labels over all classes,
then one over D_r, each epoch; for CIFAR-100 and Tiny-ImageNet one mixed pass) and generate_mask.py (inference mode,
one threshold over all tensors, rank below floor(share * n)) of OPTML-Group/Unlearn-Saliency, run for three epochs on
the same inputs and labels, with and without BatchNorm: no bit differs, of the mask neither. There as here the masked
weights are put back after each step, so that neither momentum nor weight decay moves them.
"""

from faults import planted
from gradients import pick_largest, sum_gradients
from training import Pass, cross_entropy


def relabel(work, settings):
    """Random Label; one round is one epoch: over D_f, or as `remaining` says over D_r, too."""
    return _train(work, settings, work_with_remaining=True)


def relabel_forget_only(work, settings):
    """Random Label on D_f alone."""
    return _train(work, settings, work_with_remaining=False)


def relabel_salient(work, settings):
    """SalUn as published."""
    share = settings.get("share", default=0.5)
    return _train(work, settings, work_with_remaining=True, share=share)


def relabel_salient_forget_only(work, settings):
    """SalUn's variant that reads D_f alone."""
    share = settings.get("share", default=0.5)
    return _train(work, settings, work_with_remaining=False, share=share)


def _train(work, settings, work_with_remaining, share=None):
    once = settings.one_of("labels", ("each-epoch", "once"), default="each-epoch") == "once"
    settings.get("wrong-only")  # which labels can be drawn; they come drawn
    remaining = settings.one_of("remaining", ("after", "mixed"), default="after") if work_with_remaining else None
    settings.finish()
    mask = {}
    if share is not None:
        work.kept, mask = pick_largest(sum_gradients(work, work.forget), share)
    while True:
        labels = work.forget.labels if planted("true-labels") else work.draw_labels(once)
        relabelled = work.forget.relabelled(labels)
        if remaining == "mixed":
            work.train_epoch(Pass(relabelled.joined(work.remaining), cross_entropy))
        elif remaining == "after" and not planted("missing-remaining-pass"):
            work.train_epoch(Pass(relabelled, cross_entropy), Pass(work.remaining, cross_entropy))
        else:
            work.train_epoch(Pass(relabelled, cross_entropy))
            work.passes += remaining is not None
        yield mask
