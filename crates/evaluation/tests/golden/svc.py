"""Writes svc.json: what scikit-learn's SVC, with the attack's settings, answers on one-dimensional data.

Run: python svc.py               (needs scikit-learn and numpy)

Each case: members, non_members and asked are probabilities of the true class; called_non_member is the answer
for each of asked, and decision the signed distance it comes from (positive: member).
"""

import json
from pathlib import Path

import numpy as np
import sklearn
from sklearn.svm import SVC

SEED, MEMBERS, ASKED = 11, 250, 800


def beta(rng, a, b, count):
    return rng.beta(a, b, count)


def saturated(rng, share, count):
    """Probabilities of a network that fits its training data: most within a thousandth of 1."""
    values = 1 - rng.exponential(2e-4, count)
    unsure = rng.random(count) < share
    values[unsure] = rng.random(unsure.sum())
    return np.clip(values, 0, 1)


def cases(rng):
    shapes = {
        "apart": ((8, 2), (2, 8)),
        "overlapping": ((6, 2), (3, 2)),
        "alike": ((5, 2), (5, 2)),
        "two-sided": ((0.4, 0.4), (6, 6)),
    }
    for name, (member, other) in shapes.items():
        yield name, beta(rng, *member, MEMBERS), beta(rng, *other, MEMBERS), beta(rng, *member, ASKED)
    yield "fewer-non-members", beta(rng, 8, 2, MEMBERS), beta(rng, 2, 2, 100), beta(rng, 4, 2, ASKED)
    yield "saturated", saturated(rng, 0.02, MEMBERS), saturated(rng, 0.2, MEMBERS), saturated(rng, 0.5, ASKED)
    # Float32 probabilities of a sure network: many equal values.
    round_to = np.round(saturated(rng, 0.0, MEMBERS), 3), np.round(saturated(rng, 0.3, MEMBERS), 1)
    yield "many-equal", *round_to, np.round(rng.random(ASKED), 2)


def main():
    rng = np.random.default_rng(SEED)
    found = []
    for name, members, others, asked in cases(rng):
        members, others, asked = (np.round(values, 7) for values in (members, others, asked))
        records = np.concatenate([members, others])[:, None]
        targets = np.concatenate([np.ones(len(members)), np.zeros(len(others))])
        # gamma="auto" is 1 / number of features.
        classifier = SVC(C=3, gamma="auto", kernel="rbf").fit(records, targets)
        found.append(
            {
                "name": name,
                "members": members.tolist(),
                "non_members": others.tolist(),
                "asked": asked.tolist(),
                "called_non_member": (classifier.predict(asked[:, None]) == 0).tolist(),
                "decision": np.round(classifier.decision_function(asked[:, None]), 5).tolist(),
            }
        )
    golden = {"scikit-learn": sklearn.__version__, "cases": found}
    Path(__file__).with_suffix(".json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    for case in found:
        print(case["name"], sum(case["called_non_member"]), "of", len(case["asked"]))


main()
