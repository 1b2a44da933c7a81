"""The galaxies of a catalogue that are most like some galaxy, by the features that `embed` has written.

reads   FOLDER as `embed` has completed it, and its images for the pictures; for --image the run's network
writes  SAVE.csv and SAVE.html, a contact sheet; by default beside the features, in FOLDER/_similar

Similar is the cosine of the angle between standardised features: 1 for the same image. --id and --image may be given
several times. An image of --image is taken to show what the images of the competition show. Every vector is compared,
part by part, so memory does not grow with the catalogue.

    ./run.sh similar --to FOLDER (--id ID | --image FILE) … [-n 500] [--save PATH] [--run OUTPUT/PLAN/runs/NAME]
"""

import argparse
import logging
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
import pandas as pd
from tqdm import tqdm

from pipeline import cli
from pipeline.catalogue import image_files, lookup, thumbnails
from pipeline.catalogue.embedded import Embedded
from pipeline.core import flag_types
from pipeline.core.neighbours import Nearest
from pipeline.core.projection import directions
from pipeline.errors import DamagedImage, UserError
from pipeline.report import contact_sheet
from pipeline.report.contact_sheet import Strip, Tile
from pipeline.store.records import atomic

log = logging.getLogger(__name__)
LONGEST = 60  # characters of a file's name that is made of an id


class Query(NamedTuple):
    """What is looked for."""

    name: str
    row: int  # in the table; -1 for an image
    direction: np.ndarray  # float32 (k,), of length 1
    picture: np.ndarray  # uint8 (h, w, 3)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(
        prog="./run.sh similar", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="the folder that `embed` has written")
    parser.add_argument("--id", action="append", default=[], help="a galaxy of the catalogue")
    parser.add_argument("--image", action="append", default=[], type=Path, help="an image: JPEG, PNG or FITS")
    parser.add_argument("-n", type=flag_types.count, default=500, help="how many galaxies; 500")
    parser.add_argument("--save", type=Path, help="path of the table and the sheet, without .csv and .html")
    parser.add_argument("--run", type=Path, help="the run that made the features, where it was moved, for --image")
    options = parser.parse_args(argv)
    if not (options.id or options.image):
        parser.error("give galaxies by --id, or images by --image")
    return options


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    options = parse(argv)
    galaxies = Embedded(options.to)
    queries = of_ids(galaxies, list(dict.fromkeys(options.id))) + of_images(galaxies, options.image, options.run)
    found = search(galaxies, queries, options.n)
    save = options.save or galaxies.folder / "_similar" / _file_name(queries)
    table, strips = [], []
    for i, query in enumerate(queries):
        rows, similarity = found.of(i)
        frame = galaxies.table(rows)
        pictures = thumbnails.pictures(frame, *galaxies.place_of_images(), galaxies.crop)
        table.append(answers(query, frame, similarity))
        strips.append(strip(query, frame, similarity, pictures))
    write(pd.concat(table), strips, galaxies, save)
    log.info("similar    %s.csv, %s.html: %s", save, save.name, _count(len(queries), "query", "queries"))


def of_ids(galaxies: Embedded, ids: list[str]) -> list[Query]:
    """Queries for galaxies of the catalogue; UserError where there is none of an id, or it has no features."""
    if not ids:
        return []
    rows = galaxies.rows_of(ids)
    made = directions(galaxies.features(rows))
    pictures = thumbnails.pictures(galaxies.table(np.array(rows)), *galaxies.place_of_images(), galaxies.crop)
    return [Query(*each) for each in zip(ids, rows, made, pictures, strict=True)]


def of_images(galaxies: Embedded, paths: list[Path], run: Path | None) -> list[Query]:
    """Queries for images; UserError where one is none, or the network that made the features is not there."""
    network, made = galaxies.network(run) if paths else None, []
    for path in paths:
        try:
            seen = lookup.look(galaxies, network, image_files.read(path.expanduser()))
        except DamagedImage as error:
            raise UserError(f"--image {path} {error}") from None
        if seen.caveat:
            log.warning("similar    CAVEAT: %s %s", path, seen.caveat)
        made.append(Query(path.name, -1, seen.direction, seen.picture))
    return made


def search(galaxies: Embedded, queries: list[Query], n: int) -> Nearest:
    """The n galaxies most similar to each query, but for itself."""
    wanted, own = np.stack([query.direction for query in queries]), np.array([query.row for query in queries])
    with tqdm(total=len(galaxies), desc="similar", unit="galaxy", leave=False) as bar:
        return lookup.nearest(galaxies.read(), wanted, own, n, bar.update)


def answers(query: Query, frame: pd.DataFrame, similarity: np.ndarray) -> pd.DataFrame:
    """The rows of the table for one query."""
    rank = np.arange(1, len(frame) + 1)
    first = pd.DataFrame({"query": query.name, "rank": rank, "similarity": similarity.round(5)}, index=frame.index)
    return pd.concat([first, frame.drop(columns=["reason"], errors="ignore")], axis=1)


def strip(query: Query, frame: pd.DataFrame, similarity: np.ndarray, pictures: list[np.ndarray]) -> Strip:
    """The pictures of one query: itself, then what is like it."""
    tiles = [
        Tile(picture, str(name), f"{value:.3f}")
        for picture, name, value in zip(pictures, frame["id"], similarity, strict=True)
    ]
    text = f"The {_count(len(tiles), 'galaxy', 'galaxies')} most similar, with the cosine of their features."
    return Strip(f"Galaxy {query.name}", text, [Tile(query.picture, query.name, "looked for"), *tiles], lead=1)


def write(table: pd.DataFrame, strips: list[Strip], galaxies: Embedded, save: Path) -> None:
    """SAVE.csv and SAVE.html, each whole or not at all."""
    run = galaxies.record["run"]
    text = f"{len(galaxies):,} galaxies of {galaxies.folder}, by the features of {run['name']}, fold {run['fold']}."
    html = contact_sheet.page("Similar galaxies", text, strips)
    for suffix, content in ((".csv", table.to_csv(index=False)), (".html", html)):
        with atomic(save.with_name(save.name + suffix)) as path:
            path.write_text(content, encoding="utf-8")


def _file_name(queries: list[Query]) -> str:
    more = f"-and-{len(queries) - 1}-more" if len(queries) > 1 else ""
    first = queries[0].name if queries[0].row >= 0 else f"{Path(queries[0].name).stem}-image"  # no galaxy's name
    return quote(first, safe="")[:LONGEST].lstrip(".") + more


def _count(n: int, one: str, several: str) -> str:
    return f"{n:,} {one if n == 1 else several}"
