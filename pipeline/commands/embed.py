"""The features of unlabelled galaxies, as a trained run sees them: what `similar` and `unusual` compare.

reads   a catalogue and its images, as `classify` does; OUTPUT/PLAN/runs/NAME
writes  FOLDER/part-*.parquet: id, ra, dec, image, radius and pixel_scale where the catalogue has them, artifact (the
        share of a star or artifact, where the labels have that answer), features (fixed-size list), reason, caveat

Features are those of the last layer before the head, pooled, the mean over views; of one fold, since those of networks
that were fine-tuned apart cannot be compared. --pca K keeps K principal components of those of the training galaxies:
their matrix is FOLDER/_pca.npz. An unreadable image is a row with its reason and without features. The same command
resumes after an interruption, and computes again what changed, as `classify` does.

    ./run.sh embed CATALOGUE --run OUTPUT/PLAN/runs/NAME --to FOLDER [--fold 0] [--float32] [--pca K] [--views 8]
        [--images DIR|ZIP|TAR|URL] [--id-column NAME] [--image-column NAME] [--table NAME] [--whole-images]
        [--engine local|ray] [--workers N] [--force [--yes]]
"""

import argparse
import logging
from functools import partial
from pathlib import Path

from pipeline import cli
from pipeline.catalogue import descriptions, embedded, embedding, remote, unread, work
from pipeline.catalogue.galaxies import Galaxies
from pipeline.catalogue.target import ShardPlan, Target
from pipeline.core import flag_types, views
from pipeline.errors import UserError
from pipeline.execution import engines
from pipeline.models import embedder
from pipeline.models.classifier import view_set_of
from pipeline.models.embedder import Embedder
from pipeline.store.artifacts import Store
from pipeline.store.environment import environment

log = logging.getLogger(__name__)
ROW = 200  # bytes of a row beside its features


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(
        prog="./run.sh embed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    work.add_catalogue_flags(parser)
    parser.add_argument("--run", type=Path, required=True, help="folder OUTPUT/PLAN/runs/NAME")
    parser.add_argument("--to", type=Path, required=True, help="the folder to write")
    parser.add_argument("--fold", type=int, default=0, help="the fold whose network looks, from 0")
    parser.add_argument("--float32", action="store_true", help="keep 32 bits of each feature, not 16")
    parser.add_argument("--pca", type=flag_types.count, metavar="K", help="keep K principal components")
    parser.add_argument(
        "--views", help=f"views averaged per galaxy: {', '.join(views.VIEW_SETS)}, or how many; as trained"
    )
    engines.add_flags(parser, "processes that each load the network")
    parser.add_argument("--force", action="store_true", help="rebuild what exists")
    parser.add_argument("--yes", action="store_true", help="agree beforehand to what would be asked")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    options = parse(argv)
    target, which = Target(options.to), (options.run, options.fold, view_set_of(options.views))
    if target.joined:
        raise UserError(f"--to {options.to}: features are written as a folder of Parquet files: name one")
    network = embedder.of_process(*which)
    for sentence in network.caveats:
        log.warning("embed      CAVEAT: %s", sentence)
    galaxies, kind = work.galaxies_of(options), embedding.TYPES[options.float32]
    kept = options.pca or network.dimension
    layout = embedding.layout(galaxies.cropping, kept, kind)
    digests, count, schema = galaxies.survey(network.schema, "parquet", layout)
    schema = descriptions.described(schema, network.schema, header(network, galaxies))
    with target.held():
        if options.force:
            cli.agree_to_lose("embed", *target.discarded(), yes=options.yes)
        spec = {"version": embedding.VERSION, "views": network.views, "images": galaxies.where, "fold": options.fold}
        spec |= {"id": str(schema.field("id").type), "type": kind, "pca": projection(target, network, options)}
        made_from = {"run": network.digest}
        wanted = [{"spec": spec, "made_from": made_from | {"rows": rows}} for rows in digests]
        plan = ShardPlan(galaxies, target, wanted, schema)
        Store(target.folder).require_space((ROW + kept * (4 if options.float32 else 2)) * count, "the features")
        matrix = embedded.projection_of(target.folder).files[0] if options.pca else None
        work.make(plan, partial(embedding.Worker, *which, matrix, galaxies.where), options, count, "embed")
        unread.refuse_all_unread(plan)
        parts = [target.shard(i) for i in range(len(wanted))]
        embedded.complete(target.folder, parts, spec, network.digest, facts(plan, network, galaxies))
    of = "principal components of the features" if options.pca else f"features of {network.name}"
    log.info("embed      %s: %s, %s %s each", target.path, work.summary(plan.facts()), f"{kept:,}", of)
    for sentence in plan.detector.summary():
        log.info("           %s", sentence)


def projection(target: Target, network: Embedder, options: argparse.Namespace) -> str | None:
    """Digest of the principal components, which are fitted where they are not there; None where none are wanted."""
    if not options.pca:
        return None
    artifact = embedded.projection_of(target.folder)
    spec, made_from = {"k": options.pca, "views": network.views, "fold": options.fold}, {"run": network.digest}
    known = artifact.facts()
    if options.force or (known.get("spec"), known.get("made_from")) != (spec, made_from):
        if known and not options.force:
            raise UserError(
                f"{target.folder} holds features of something else (other --pca, --views, --fold or --run, or that run "
                f"before it was trained again): choose another --to, or replace them by --force"
            )
        embedding.save_projection(artifact, embedding.fit_projection(network, options.pca), spec, made_from)
    artifact.verify()
    return artifact.digest()


def facts(plan: ShardPlan, network: Embedder, galaxies: Galaxies) -> dict:
    """What those who read the folder have to know."""
    where = galaxies.where
    if where is not None and not remote.is_address(where):
        where = str(Path(where).expanduser().resolve())
    summed = plan.facts()
    return {
        "galaxies": summed["galaxies"],
        "unread": summed["unread"],
        "run": {"folder": str(network.folder), "name": network.name, "fold": network.fold, "views": network.views},
        "images": where,
        "crop": network.crop.model_dump(),
        "artifact": embedding.artifact_column(network.schema),
    }


def header(network: Embedder, galaxies: Galaxies) -> dict[str, str]:
    """What the table says of itself."""
    return {
        "run": network.name,
        "runhash": network.digest,
        "fold": str(network.fold),
        "code": environment()["code"],
        "colvers": str(embedding.VERSION),
        "views": network.views,
        "imscale": galaxies.scales(),
        "caveats": " ".join(network.caveats) or "none known",
    }
