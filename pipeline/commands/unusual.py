"""The most unusual galaxies of a catalogue, by the features that `embed` has written.

reads   FOLDER as `embed` has completed it, and its images for the pictures; with --answers a table of `classify`
writes  SAVE.csv and SAVE.html, a contact sheet; by default FOLDER/_unusual/unusual

Unusual is who is far from the nearest others: the mean distance to the ten nearest of up to 10,000 random galaxies of
the catalogue, between standardised features scaled to length 1. The column isolation is the baseline, the score of an
isolation forest on the features of the same. Much that is unusual is no galaxy: stars, trails, artifacts. Where the
labels have such an answer, these are told apart by it and listed on their own: by the run's own answer, or --answers.

    ./run.sh unusual --to FOLDER [-n 500] [--artifact-above 0.5] [--answers TABLE] [--save PATH]
"""

import argparse
import logging
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from pipeline import cli
from pipeline.catalogue import answers_table, thumbnails
from pipeline.catalogue.embedded import Embedded
from pipeline.core import flag_types, neighbours
from pipeline.core.projection import directions
from pipeline.errors import UserError
from pipeline.report import contact_sheet
from pipeline.report.contact_sheet import Strip, Tile
from pipeline.store.records import atomic

log = logging.getLogger(__name__)
REFERENCE, SEED = 10_000, 0  # galaxies that all are compared with, which
TREES = 200  # of the isolation forest (Liu, Ting & Zhou 2008, doi:10.1109/ICDM.2008.17)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(
        prog="./run.sh unusual", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="the folder that `embed` has written")
    parser.add_argument("-n", type=flag_types.count, default=500, help="how many galaxies, and artifacts; 500")
    parser.add_argument(
        "--artifact-above",
        type=flag_types.fraction,
        default=0.5,
        metavar="SHARE",
        help="share of volunteers above which it is one",
    )
    parser.add_argument("--answers", type=Path, metavar="TABLE", help="what `classify` said of these galaxies: Parquet")
    parser.add_argument("--save", type=Path, help="path of the table and the sheet, without .csv and .html")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    options = parse(argv)
    galaxies = Embedded(options.to)
    share = artifact_share(galaxies, options.answers)
    scores = score(galaxies)
    is_artifact = np.nan_to_num(share[scores["row"]]) > options.artifact_above
    scores["kind"] = np.where(is_artifact, "artifact", "galaxy")
    scores["artifact"] = share[scores["row"]]
    save = options.save or galaxies.folder / "_unusual" / "unusual"
    parts = [scores[scores["kind"] == kind].head(options.n) for kind in ("galaxy", "artifact")]
    frames = [described(galaxies, part) for part in parts if len(part)]
    write(galaxies, frames, save, told=bool(np.isfinite(share).any()))
    log.info("unusual    %s.csv, %s.html: %s", save, save.name, _counts(frames))


def artifact_share(galaxies: Embedded, answers: Path | None) -> np.ndarray:
    """(n,) share of a star or artifact of each galaxy, NaN where it is not known. UserError as of `answers_table`."""
    if answers:
        return answers_table.artifact_share(answers, galaxies)
    if galaxies.has_artifacts:
        return galaxies.column("artifact")
    log.warning("unusual    the labels of the run have no answer for stars and artifacts, which stand among the rest")
    return np.full(len(galaxies), np.nan)


def score(galaxies: Embedded) -> pd.DataFrame:
    """row, distance, isolation of every galaxy that has features, the most unusual first; both fall.

    UserError where there are too few to compare.
    """
    from sklearn.ensemble import IsolationForest

    rows, standard = sample(galaxies)
    if len(rows) <= neighbours.NEIGHBOURS:
        raise UserError(
            f"{galaxies.folder} has features of {len(rows)} galaxies: what is unusual takes more than "
            f"{neighbours.NEIGHBOURS} to compare with"
        )
    forest = IsolationForest(n_estimators=TREES, random_state=SEED).fit(standard)
    reference, made = directions(standard), []
    with tqdm(total=len(galaxies), desc="unusual", unit="galaxy", leave=False) as bar:
        for part in galaxies.read():
            at = np.searchsorted(rows, part.rows)
            own = np.where(rows[np.minimum(at, len(rows) - 1)] == part.rows, at, -1)
            distance = neighbours.mean_distance(directions(part.features), reference, own)
            isolation = -forest.score_samples(part.features) if len(at) else np.empty(0)
            made.append(pd.DataFrame({"row": part.rows, "distance": distance, "isolation": isolation}))
            bar.update(len(part.rows))
    return pd.concat(made).sort_values("distance", ascending=False, kind="stable", ignore_index=True)


def sample(galaxies: Embedded) -> tuple[np.ndarray, np.ndarray]:
    """(rows, ascending, features float32 (m, k)) of up to REFERENCE random galaxies, always the same."""
    wanted = np.sort(np.random.default_rng(SEED).permutation(len(galaxies))[:REFERENCE])
    rows, made = [], []
    for part in galaxies.read():
        mine = np.isin(part.rows, wanted, assume_unique=True)
        rows.append(part.rows[mine])
        made.append(part.features[mine])
    return np.concatenate(rows), np.concatenate(made)


def described(galaxies: Embedded, part: pd.DataFrame) -> pd.DataFrame:
    """Scores of one kind with what the catalogue tells: kind, rank, distance, isolation, artifact, id, …"""
    told = galaxies.table(part["row"].to_numpy()).drop(columns=["reason", "artifact"], errors="ignore")
    first = part.drop(columns=["row"]).reset_index(drop=True)
    first.insert(0, "rank", np.arange(1, len(first) + 1))
    first.insert(0, "kind", first.pop("kind"))
    return pd.concat([first.round(5), told.reset_index(drop=True)], axis=1)


def write(galaxies: Embedded, frames: list[pd.DataFrame], save: Path, *, told: bool) -> None:
    """SAVE.csv and SAVE.html, each whole or not at all."""
    run = galaxies.record["run"]
    text = (
        f"Of {len(galaxies):,} galaxies of {galaxies.folder}, by the features of {run['name']}, fold {run['fold']}: "
        f"those that are farthest from their {neighbours.NEIGHBOURS} nearest neighbours, the farthest first."
    )
    html = contact_sheet.page("Unusual galaxies", text, [strip(galaxies, frame, told=told) for frame in frames])
    for suffix, content in ((".csv", pd.concat(frames).to_csv(index=False)), (".html", html)):
        with atomic(save.with_name(save.name + suffix)) as path:
            path.write_text(content, encoding="utf-8")


def strip(galaxies: Embedded, frame: pd.DataFrame, *, told: bool) -> Strip:
    """The pictures of one kind."""
    pictures = thumbnails.pictures(frame, *galaxies.place_of_images(), galaxies.crop)
    tiles = [
        Tile(picture, str(name), f"{distance:.3f}" + (f"; artifact {share:.0%}" if np.isfinite(share) else ""))
        for picture, name, distance, share in zip(
            pictures, frame["id"], frame["distance"], frame["artifact"], strict=True
        )
    ]
    if frame["kind"].iloc[0] == "artifact":
        return Strip("Stars and artifacts", "Most volunteers would see no galaxy, by the network's answer.", tiles)
    text = "Most volunteers would see a galaxy, by the network's answer."
    return Strip("Galaxies", text if told else "Stars and artifacts may be among them.", tiles)


def _counts(frames: list[pd.DataFrame]) -> str:
    names = {"galaxy": "galaxies", "artifact": "stars and artifacts"}
    return " and ".join(f"{len(frame):,} {names[frame['kind'].iloc[0]]}" for frame in frames)
