"""Words of the report that depend on the kind of labels: volunteers vote, a table of classes does not."""

from typing import NamedTuple

from pipeline.core.labels import Schema

NUMBERS = {2: "Two", 3: "Three", 4: "Four", 5: "Five", 6: "Six", 7: "Seven", 8: "Eight", 9: "Nine", 10: "Ten"}


class Words(NamedTuple):
    """How the report speaks of labels."""

    value: str  # that is predicted of an answer
    values: str
    labelled: str  # after "galaxies": those whose class is known
    unclear: str  # those whose class is not
    truth: str  # what predictions are compared with, as a heading
    people: str  # who gave it
    accuracy: str  # its title
    clear: str  # what a clearly labelled galaxy has


def of(schema: Schema) -> Words:
    """The words for a schema."""
    count = len(schema.own_classes)
    accuracy = f"{NUMBERS.get(count, count)}-class accuracy" if count else "Accuracy"
    if schema.describes_classes:
        return Words("probability", "probabilities", "with a label", "no label", "Label", "label", accuracy, "Labelled")
    return Words(
        "vote fraction", "vote fractions", "with clear votes", "no clear votes", "Volunteers", "people", accuracy,
        "Clear votes",
    )  # fmt: skip
