"""Does it pay to choose the galaxies that people label? The real labels play the volunteers.

    python -m tests.benchmarks.choosing OUTPUT/PLAN [--run R] [--repeats 5] [--to FILE.csv]

reads   the kept features of a run whose backbone is frozen (`./run.sh frozen --run mobilenetv2 --input DIR`), labels
writes  a Markdown table for CHOOSING.md; with --to a CSV of every score

A third of the galaxies are held out at random, anew in each repeat, and nothing is chosen by them. Both ways start
from the same galaxies drawn by lot. `random` goes on by lot, `label` as the page does: in rounds, by BADGE, a fifth of
each round by lot. The head is a logistic regression on the features. Five classes: clear galaxies of the sample of Zhu
et al. 2019. A rare one: the 5 % of all galaxies with the largest share of votes for edge-on.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t as student
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from pipeline.core import acquisition, classes, ranking_metrics
from pipeline.core.labels import Question, Schema
from pipeline.store.artifacts import Store
from tests.builders.galaxy_zoo_2 import GZ2

ROUNDS = (50, 100, 200, 300, 500, 700, 1000)  # labels by the end of each round; the first are drawn by lot
TOLD = (100, 300, 1000)
STRENGTH = 0.01  # inverse of the head's penalty, on features of width 1; not tuned
RARE = 0.05  # share of the galaxies of the rare class
Choose = Callable[[np.ndarray, np.ndarray, int, np.random.Generator], np.ndarray]


class Task(NamedTuple):
    """Galaxies and the class of each."""

    name: str
    features: np.ndarray  # float32 (n, d)
    truth: np.ndarray  # int (n,)
    n_classes: int

    def of(self, rows: np.ndarray) -> "Task":
        """Some of the galaxies."""
        return self._replace(features=self.features[rows], truth=self.truth[rows])


def tasks(features: np.ndarray, fractions: np.ndarray) -> list[Task]:
    """The two questions, from features (n, d) and vote fractions (n, 37)."""
    five = classes.true_class(GZ2, fractions)
    clear = five >= 0
    edge_on = fractions[:, GZ2.index["Class2.1"]]
    rare = edge_on >= np.quantile(edge_on, 1 - RARE)
    return [
        Task("five classes", features[clear], five[clear], len(GZ2.classes)),
        Task("edge-on, 5 %", features, rare.astype(int), 2),
    ]


def schema_of(n_classes: int) -> Schema:
    """One question with that many answers."""
    names = tuple(f"c{i}" for i in range(n_classes))
    return Schema("of", "class", (Question(1, "class", "class", names, names, names, ()),))


def fit(task: Task) -> Callable[[np.ndarray], np.ndarray]:
    """A head trained on all galaxies of a task: features (n, d) -> probabilities (n, classes)."""
    scaler = StandardScaler().fit(task.features)
    there = np.unique(task.truth)
    if len(there) > 1:
        head = LogisticRegression(C=STRENGTH, max_iter=3000).fit(scaler.transform(task.features), task.truth)

    def probabilities(features: np.ndarray) -> np.ndarray:
        made = np.full((len(features), task.n_classes), 1e-4)
        made[:, there] = head.predict_proba(scaler.transform(features)) if len(there) > 1 else 1.0
        return made / made.sum(axis=1, keepdims=True)

    return probabilities


def by_lot(pool: Task, labelled: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """k galaxies of the pool that are not labelled bool (n,), by lot."""
    return rng.permutation(np.flatnonzero(~labelled))[:k]


def as_the_page(pool: Task, labelled: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """k galaxies as the page shows them: by BADGE, and a fifth by lot."""
    schema, probable = schema_of(pool.n_classes), fit(pool.of(labelled))(pool.features)
    described = acquisition.described(schema, probable.astype(np.float32), pool.features)
    rows = by_lot(pool, labelled, len(labelled), rng)
    few = round(k * acquisition.BY_CHANCE)
    chosen = rows[few:][acquisition.badge(described.of(rows[few:]), described.of(labelled), k - few, rng)]
    return np.concatenate([rows[:few], chosen])


WAYS = {"random": by_lot, "label": as_the_page}


def scores(probable: np.ndarray, task: Task) -> dict[str, float]:
    """Of probabilities (n, classes): log loss, accuracy, mean average precision over the classes."""
    own = np.clip(probable[np.arange(len(task.truth)), task.truth], 1e-6, 1)
    first = 1 if task.n_classes == 2 else 0  # of two classes the rare one alone
    precision = [
        ranking_metrics.average_precision(probable[:, i], task.truth == i) for i in range(first, task.n_classes)
    ]
    accuracy = float((probable.argmax(axis=1) == task.truth).mean())
    return {
        "log_loss": float(-np.log(own).mean()),
        "accuracy": accuracy,
        "average_precision": float(np.nanmean(precision)),
    }


def simulate(task: Task, seed: int, rounds: tuple[int, ...] = ROUNDS) -> Iterator[dict[str, object]]:
    """A row for each way and number of labels, scored on the same held-out galaxies."""
    order = np.random.default_rng(seed).permutation(len(task.truth))
    held_out, pool = task.of(order[: len(order) // 3]), task.of(order[len(order) // 3 :])
    for way, choose in WAYS.items():
        rng = np.random.default_rng([seed, 1])
        labelled = np.zeros(len(pool.truth), bool)
        labelled[by_lot(pool, labelled, rounds[0], rng)] = True
        for n in rounds:
            if n > labelled.sum():
                labelled[choose(pool, labelled, n - int(labelled.sum()), rng)] = True
            found = scores(fit(pool.of(labelled))(held_out.features), held_out)
            yield {"task": task.name, "way": way, "repeat": seed, "labels": int(labelled.sum()), **found}


def interval(differences: np.ndarray) -> tuple[float, float, float]:
    """(mean, low, high): 95 % interval of the mean of a few repeats, by Student's t."""
    mean, n = float(differences.mean()), len(differences)
    width = float(student.ppf(0.975, n - 1) * differences.std(ddof=1) / n**0.5)
    return mean, mean - width, mean + width


def table(made: pd.DataFrame) -> str:
    """Markdown: each score of both ways, and their paired difference."""
    lines = ["| task | labels | score | random | label | difference |", "|---|--:|---|--:|--:|---|"]
    for (task, n), part in made[made["labels"].isin(TOLD)].groupby(["task", "labels"], sort=False):
        for score in ("log_loss", "accuracy", "average_precision"):
            wide = part.pivot(index="repeat", columns="way", values=score)
            mean, low, high = interval((wide["label"] - wide["random"]).to_numpy())
            ends = f"{wide['random'].mean():.4f} | {wide['label'].mean():.4f}"
            lines.append(f"| {task} | {n:,} | {score} | {ends} | {mean:+.4f} ({low:+.4f} to {high:+.4f}) |")
    return "\n".join(lines)


def main() -> None:
    """Simulate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="OUTPUT/PLAN")
    parser.add_argument("--run", default="mobilenetv2")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    store = Store(options.folder)
    run = store.trained(options.run, 0).fact("spec", dict)["crop"]
    _, labels, _ = store.load_training(run)
    made = []
    for task in tasks(store.load_features(options.run), labels):
        for seed in range(options.repeats):
            made += simulate(task, seed)
            print(task.name, f"repeat {seed + 1} of {options.repeats}", flush=True)
            if options.to:
                pd.DataFrame(made).to_csv(options.to, index=False)
    print(table(pd.DataFrame(made)))


if __name__ == "__main__":
    main()
