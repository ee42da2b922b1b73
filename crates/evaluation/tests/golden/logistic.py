"""Writes logistic.json: how well scikit-learn's LogisticRegression tells losses of two kinds apart, in five folds.

Run: python logistic.py          (needs scikit-learn and numpy)

Each case: members and others are losses in nats, as many of one as of the other; sample i of either lies in fold i mod 5.
accuracies are of the folds, in percent; slope and intercept those of a regression on all samples. Losses are clipped to
100 nats, as in SCRUB's code. Accuracies are the default solver's; slope and intercept come from another, which is asked for
more digits, and which gives the same accuracies.
"""

import json
from pathlib import Path

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression

SEED, COUNT, FOLDS = 12, 203, 5


def losses(rng, mean, share, count=COUNT):
    """Cross-entropies: most near nothing, some share of them large."""
    values = rng.exponential(mean, count)
    wrong = rng.random(count) < share
    values[wrong] += rng.gamma(2, 2, wrong.sum())
    return values


def cases(rng):
    yield "alike", losses(rng, 0.05, 0.1), losses(rng, 0.05, 0.1)
    yield "remembered", losses(rng, 0.002, 0.0), losses(rng, 0.1, 0.1)
    yield "forgotten too well", losses(rng, 0.5, 0.9), losses(rng, 0.1, 0.1)
    yield "far apart", 20 + rng.random(COUNT), rng.random(COUNT)
    yield "few", losses(rng, 0.1, 0.3, 10), losses(rng, 0.1, 0.1, 10)
    # Float32 probabilities of a sure network: most losses are exactly nothing.
    zeros = np.where(rng.random(COUNT) < 0.8, 0.0, losses(rng, 0.1, 0.0))
    yield "many equal", zeros, np.where(rng.random(COUNT) < 0.6, 0.0, losses(rng, 0.1, 0.2))
    yield "vast", rng.exponential(150, COUNT), rng.exponential(40, COUNT)


def table(members, others):
    return np.concatenate([members, others])[:, None], np.repeat([1, 0], [len(members), len(others)])


def accuracies(solver, members, others):
    fold = np.arange(len(members)) % FOLDS
    found = []
    for asked in range(FOLDS):
        model = LogisticRegression(**solver).fit(*table(members[fold != asked], others[fold != asked]))
        found.append(100 * model.score(*table(members[fold == asked], others[fold == asked])))
    return found


def main():
    rng = np.random.default_rng(SEED)
    exact = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 1000}
    found = []
    for name, members, others in cases(rng):
        members, others = np.round(members, 7), np.round(others, 7)
        clipped = [np.clip(losses, -100, 100) for losses in (members, others)]
        default = accuracies({}, *clipped)
        assert np.allclose(default, accuracies(exact, *clipped)), name
        model = LogisticRegression(**exact).fit(*table(*clipped))
        found.append(
            {
                "name": name,
                "members": members.tolist(),
                "others": others.tolist(),
                "accuracies": default,
                "slope": float(model.coef_[0, 0]),
                "intercept": float(model.intercept_[0]),
            }
        )
        print(name, np.mean(default), model.coef_, model.intercept_)
    golden = {"scikit-learn": sklearn.__version__, "cases": found}
    Path(__file__).with_suffix(".json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


main()
