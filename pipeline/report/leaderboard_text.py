"""The leaderboard as text: a Markdown table, and what matters of it for a terminal."""

from typing import Any

import pandas as pd

from pipeline.core.durations import duration
from pipeline.report.leaderboard import KAGGLE, NAMES, OF_CLASSES

UNKNOWN = "\N{EN DASH}"
SHORT = {"rmse": "RMSE", "log_loss": "log loss", "accuracy5": "5 classes"}  # headings in a terminal
LONGEST_NAME = 18  # characters of a name in a terminal


def to_markdown(frame: pd.DataFrame) -> str:
    """The leaderboard as a Markdown table."""
    frame = _shown(frame)
    texts = _texts(frame)
    rule = ["---" if column in NAMES else "--:" for column in frame.columns]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(frame.columns), rule, *texts]) + "\n"


def to_text(frame: pd.DataFrame) -> str:
    """What matters of the leaderboard in aligned columns, for a terminal of 100."""
    rows = [_in_short(row, kaggle=KAGGLE[0] in _shown(frame)) for row in frame.to_dict("records")]
    table = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    pads = [str.ljust if column in NAMES else str.rjust for column in rows[0]]
    padded = ([pad(*cell) for pad, *cell in zip(pads, row, widths, strict=True)] for row in table)
    return "\n".join("  ".join(row).rstrip() for row in padded)


def _in_short(row: dict[str, Any], *, kaggle: bool) -> dict[str, str]:
    """Column -> cell of a line; Kaggle's scores take the place of what one network costs."""
    name = (
        row["name"] if len(row["name"]) <= LONGEST_NAME else row["name"][: LONGEST_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"
    )
    score = list(row)[len(NAMES)]
    accuracy = next(column for column in row if column.startswith("accuracy"))
    shown = {"name": name, "kind": row["kind"], SHORT.get(score, score): _cell("{:.5f}", row[score])}
    shown["95 % interval"] = f"{row[f'{score}_low']:.4f} - {row[f'{score}_high']:.4f}"
    shown[SHORT.get(accuracy, accuracy)] = _cell("{:.1%}", row[accuracy])
    shown["training"] = UNKNOWN if pd.isna(row["train_seconds"]) else duration(row["train_seconds"])
    if kaggle:
        return shown | {key.removeprefix("kaggle_"): _cell("{:.5f}", row[key]) for key in KAGGLE}
    params = UNKNOWN if pd.isna(row["params"]) else f"{row['params'] / 1e6:.1f} M"
    return shown | {"params": params, "images/s": _cell("{:,.1f}", row["images_per_second"])}


def _cell(form: str, value: Any) -> str:
    return UNKNOWN if pd.isna(value) else form.format(value)


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Without Kaggle's columns where nothing was uploaded."""
    return frame.drop(columns=[column for column in KAGGLE if column in frame and frame[column].isna().all()])


def _texts(frame: pd.DataFrame) -> list[list[str]]:
    """The cells of a leaderboard as text: 4 to 5 digits, thousands parted, a dash for what is not known."""
    forms = {"views_gain": "{:+.5f}", "params": "{:,}", "train_seconds": "{:,.1f}", "images_per_second": "{:,.1f}"}
    forms |= {column: "{:.4f}" for column in frame if column.startswith("accuracy") or column in OF_CLASSES}
    forms |= {column: "{:.5f}" for column in frame if column not in (*forms, *NAMES)}
    return [
        [_cell(forms.get(column, "{}"), value) for column, value in row.items()] for row in frame.to_dict("records")
    ]
