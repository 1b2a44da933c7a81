"""Galaxies that were trained on before, in the output that this plan's runs start from: by id, or by their image.

A network has seen the votes of all galaxies but those of its own fold. So this plan's folds follow the other's: what
was held out there is held out here, and no network is scored on a galaxy whose votes it, or what it started from, has
seen.
"""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pipeline.competition import duplicates
from pipeline.errors import Damaged, UserError
from pipeline.labelled.source import open_images
from pipeline.plans.config import Plan
from pipeline.store import starting_run
from pipeline.store.artifacts import ID, Store

log = logging.getLogger(__name__)


class Known(NamedTuple):
    """What is known of this plan's galaxies in the output that its runs start from."""

    names: tuple[str, ...]  # of the output, and of those that it started from itself
    fold: pd.Series  # of each known galaxy, by its id here: its fold there
    by_image: int  # how many of them were found by their image, under another id
    galaxies: int  # of this plan
    trained_on: int  # galaxies that were labelled there
    untold: tuple[str, ...]  # what could not be told, as sentences

    def facts(self) -> dict[str, Any]:
        """As records hold it."""
        return {"from": list(self.names), "known": len(self.fold), "by_image": self.by_image,
                "galaxies": self.galaxies, "trained_on": self.trained_on, "untold": list(self.untold)}  # fmt: skip


def of_plan(plan: Plan, store: Store) -> Known | None:
    """The galaxies that the runs which this plan's start from know; None where all start from first weights."""
    starts = starting_run.of_plan(plan, store)
    if not starts:
        return None
    others, untold = _chain(starts)
    ids = store.load_labels().index
    fold, by_image, trained_on = pd.Series(dtype="int64"), 0, 0
    for other in others:
        there = other.load_folds()
        alike, why = _same_images(store, other)
        alike = {mine: its for mine, its in alike.items() if its in there.index}  # of a part that was trained on
        found = _folds_there(ids, there, alike)
        _require_same(fold, found, other)
        by_image += sum(str(mine) != str(its) for mine, its in alike.items())
        fold = pd.concat([fold, found.drop(fold.index, errors="ignore")])
        trained_on, untold = trained_on + len(there), untold + why
    untold += [
        f"{start.label} trained its head alone: its backbone is as it was before, and brings nothing of galaxies along"
        for start in starts
        if not start.trained_backbone
    ]
    if unknown := len(ids) - len(fold):
        untold.append(
            f"{unknown:,} of {len(ids):,} galaxies are not known to {starts[0].label} by id or image; one that it was "
            f"trained on under another id and from another file could not be told"
        )
    names = tuple(other.root.name for other in others)
    return Known(names, fold.astype("int64").rename_axis(ID), by_image, len(ids), trained_on, tuple(untold))


def require_unseen(known: Known, fold: pd.Series, store: Store) -> None:
    """UserError where a galaxy would be scored by a network that was trained on it before."""
    here = fold.reindex(known.fold.index)
    seen = here.index[(here >= 0) & (here != known.fold)]
    if len(seen):
        first = seen[0]
        raise UserError(
            f"{len(seen):,} galaxies would be scored by networks that start from others which were trained on them "
            f"(such as GalaxyID {first}: fold {here[first]} here, {known.fold[first]} in {known.names[0]}): the folds "
            f"must follow those of {known.names[0]}, as {store.command('folds', '--force')} assigns them"
        )


def _chain(starts: list[starting_run.Start]) -> tuple[list[Store], list[str]]:
    """The outputs that the runs start from, and those that these started from in turn; what of them is not there."""
    others, untold, todo = [], [], list(starts)
    while todo:
        start = todo.pop(0)
        if start.store.root not in [other.root for other in others]:
            others.append(start.store)
        record = start.any_trained().required()
        before = record.get("weights", {}).get("start_folder")
        if before is None:
            continue
        beside = "/".join(Path(before).parts[-3:])  # where both outputs were moved together
        places = [starting_run.find(place, start.store.root.parent) for place in (beside, before)]
        if earlier := next((place for place in places if place.store.folds().facts()), None):
            todo.append(earlier)
        else:
            untold.append(
                f"{start.label} started itself from {before}, which is not there: which galaxies that was trained on "
                f"could not be told"
            )
    return others, untold


def _folds_there(ids: pd.Index, there: pd.Series, alike: dict[Any, Any]) -> pd.Series:
    """Fold in the other output of the galaxies that it was trained on: by their image, else by their id."""
    its = {str(galaxy): galaxy for galaxy in there.index}
    same = {galaxy: alike.get(galaxy, its.get(str(galaxy))) for galaxy in ids.tolist()}
    known = {mine: there[other] for mine, other in same.items() if other is not None}
    return pd.Series(known, index=pd.Index(list(known), dtype=ids.dtype), dtype="int64")


def _same_images(store: Store, other: Store) -> tuple[dict[Any, Any], list[str]]:
    """(id here -> id there of galaxies with the same image, what could not be told)."""
    opened = []
    for one in (store, other):
        try:
            opened.append(open_images(one, "train"))
        except Damaged:
            raise
        except UserError as error:
            for images in opened:
                images.close()
            return {}, [f"galaxies were compared with those of {other.root.name} by their ids alone ({error})"]
    with opened[0] as mine, opened[1] as its:
        return duplicates.same_images(mine, its), []


def _require_same(fold: pd.Series, found: pd.Series, other: Store) -> None:
    both = fold.index.intersection(found.index)
    if (apart := both[fold[both].to_numpy() != found[both].to_numpy()]).size:
        raise UserError(
            f"{len(apart):,} galaxies (such as {apart[0]}) were in one fold of {other.root.name} and in another of "
            f"what started from it: no fold of theirs is unseen by both; train that run again"
        )
