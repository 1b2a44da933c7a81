"""What each column of the answers means (unit, UCD, description), and what a table says of itself, in a schema."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pipeline.catalogue import columns
from pipeline.catalogue.readers.part import Meaning
from pipeline.core.labels import Schema

if TYPE_CHECKING:
    import pyarrow as pa

HEADER = {  # facts on a whole table, by names that are keywords of FITS -> what they are
    "ensemble": "that gave the answers: plan/ensembles/name",
    "enshash": "digest of the files of the ensemble",
    "code": "version of the code",
    "colvers": "version of these columns",
    "views": "views averaged per galaxy",
    "imscale": "arcseconds per pixel of the images are from",
    "interval": "share of the answers that intervals hold",
    "caveats": "on the ensemble, to know before the answers are used",
}
LONGEST_KEYWORD = 8  # of FITS
FIXED = {
    "id": Meaning("", "meta.id;meta.main", "identifier, as in the catalogue"),
    "ra": Meaning("deg", "pos.eq.ra;meta.main", "right ascension, of the catalogue"),
    "dec": Meaning("deg", "pos.eq.dec;meta.main", "declination, of the catalogue"),
    "reason": Meaning("", "meta.note", "why the image could not be read; empty where it could"),
    "caveat": Meaning("", "meta.note", "why the answer should not be trusted as others are; empty: nothing does"),
}


def described(
    schema: "pa.Schema", labels: Schema, header: Mapping[str, str], stated: Mapping[str, Meaning] = columns.NOTHING
) -> "pa.Schema":
    """The schema with what its columns mean, but for those that have metadata, and with facts on the whole table.

    `stated`: what those of `stated.meanings` mean.
    """
    import pyarrow as pa

    ours = FIXED | dict(_answers(labels)) | dict(stated)
    told = {name: {key: text for key, text in meaning._asdict().items() if text} for name, meaning in ours.items()}
    fields = [field.with_metadata(field.metadata or told.get(field.name)) for field in schema]
    return pa.schema(fields, metadata=dict(header))


def meaning_of(field: "pa.Field") -> Meaning:
    """What the metadata of a column say."""
    told = {key.decode(): text.decode() for key, text in (field.metadata or {}).items()}
    return Meaning(*(told.get(key, "") for key in Meaning._fields))


def header_of(schema: "pa.Schema") -> dict[str, str]:
    """What the metadata of a schema say of the whole table; what libraries keep there is left out."""
    told = {key.decode(): text.decode() for key, text in (schema.metadata or {}).items()}
    return {key: text for key, text in told.items() if len(key) <= LONGEST_KEYWORD and key != "pandas"}


def _answers(labels: Schema) -> Iterator[tuple[str, Meaning]]:
    """The columns of every question, of each of its answers, and of the derived class."""
    conditional = columns.conditional_columns(labels)
    votes = ("share of all volunteers", "std. dev. of the share", "share of those asked")
    classes = ("probability", "std. dev. of the probability", "probability where the question is reached")
    joint, deviation, of_asked = classes if labels.describes_classes else votes
    for i, (column, answer) in enumerate(zip(labels.columns, labels.names, strict=True)):
        said = answer.replace("_", " = ", 1)  # short: the writer of VOTable breaks long lines, at hyphens too
        yield column, Meaning("", "stat.probability;src.morph", f"{said}: {joint}")
        yield f"{column}_spread", Meaning("", "stat.stdev;stat.probability", f"{said}: {deviation}")
        if conditional:
            yield conditional[i], Meaning("", "stat.probability;src.morph", f"{said}: {of_asked}")
    for question in labels.questions:
        yield question.name, Meaning("", "src.morph.type", f"{question.name}: leading answer")
    if names := columns.class_columns(labels):
        among = ", ".join(labels.class_names)
        yield names[0], Meaning("", "src.morph.type", f"leading class among {among}")
        share = f"share of the leading class among the {len(labels.class_names)}"
        yield names[1], Meaning("", "stat.probability;src.morph.type", share)
