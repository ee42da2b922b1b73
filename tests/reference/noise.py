"""Weight noise and the two forms of Fisher forgetting: no training, one noising a round.

Weight noise: N(0, sigma^2) on the share of coordinates that D_f's gradient names; a plain baseline without a paper.

Fisher forgetting: Golatkar, Achille, Soatto, "Eternal Sunshine of the Spotless Net" (CVPR 2020): noise of covariance
(alpha / F)^(1/2) with F the Fisher information on D_r. Two codes, two forms, both run on the same inputs:

* `empirical`, `fisher` of Classification/unlearn/fisher.py in OPTML-Group/Unlearn-Saliency: true labels, standard
  deviation min(sqrt(alpha / F), 1e-3), tenfold on the last layer (in the code on its bias alone: `last-layer =
  "bias"`, for which weights are at most 1.5e-8 apart; its 1e-8 beside each gradient is left out);
* `expected`, `hessian` and `get_mean_var` of Forgetting.ipynb in AdityaGolatkar/SelectiveForgetting (the same in
  `fisher_new` of the other): all labels, weighted by the network's own probabilities; variance alpha / (F + 1e-8),
  the inverse at most 1e3 and in the last layer 1e2, averaged over dimension 1 (a unit's inputs), tenfold for the last
  layer and for one-dimensional tensors. No bit differs from either code.
"""

import torch

from faults import planted
from gradients import mean_squared_gradients, pick_largest, sum_gradients


def noise_sensitive(work, settings):
    """Weight noise: theta + sigma * N on the share of coordinates with the largest |sum of gradients on D_f|."""
    sigma, share = settings.get("sigma", required=True), settings.get("share", default=0.5)
    settings.finish()
    if planted("variance-for-deviation"):
        sigma = sigma**2
    while True:
        masks, figures = pick_largest(sum_gradients(work, work.forget), share)
        _add(work, {name: sigma * mask for name, mask in masks.items()})
        yield figures


def forget_by_fisher(work, settings):
    """Fisher forgetting in the form that `form` names."""
    form = settings.one_of("form", ("empirical", "expected"))
    alpha, cap = settings.get("alpha", required=True), settings.get("maximum", default=1e-3)
    last = settings.one_of("last-layer", ("whole", "bias"), default="whole")
    settings.finish()
    while True:
        if form == "empirical":
            information = mean_squared_gradients(work, work.remaining, lambda _, label: [(label, 1.0)])
            deviations = {
                name: _empirical_deviation(work, name, f, alpha, cap, last) for name, f in information.items()
            }
        else:
            information = mean_squared_gradients(work, work.remaining, _weigh_labels)
            deviations = {name: _expected_deviation(work, name, f, alpha) for name, f in information.items()}
        _add(work, deviations)
        yield {}


def _weigh_labels(logits, label):
    if planted("true-labels"):
        return [(label, 1.0)]
    if planted("labels-unweighted"):
        return [(other, 1.0) for other in range(len(logits))]
    return list(enumerate(logits.softmax(dim=0).tolist()))


def _in_last_layer(work, name):
    return name.startswith(f"{work.network.last_layer_name}.") and not planted("last-layer-as-others")


def _empirical_deviation(work, name, information, alpha, cap, last):
    deviation = (alpha / information).sqrt()
    if not planted("without-cap"):
        deviation = deviation.clamp(max=cap)
    tenfold = _in_last_layer(work, name) and (last == "whole" or name.endswith(".bias"))
    return deviation * 10 if tenfold else deviation


def _expected_deviation(work, name, information, alpha):
    inverse = 1 / (information + 1e-8)
    if not planted("without-cap"):
        inverse = inverse.clamp(max=1e2 if _in_last_layer(work, name) else 1e3)
    variance = alpha * inverse
    if information.dim() > 1 and not planted("no-mean-over-inputs"):
        variance = variance.mean(dim=1, keepdim=True).expand_as(variance)
    if _in_last_layer(work, name) or (information.dim() == 1 and not planted("one-dimensional-as-others")):
        variance = variance * 10
    return variance if planted("variance-for-deviation") else variance.sqrt()


def _add(work, deviations):
    noise = work.draw_noise()
    with torch.no_grad():
        for name, weight in work.trained().items():
            weight += (-1 if planted("wrong-sign") else 1) * deviations[name] * noise[name]
