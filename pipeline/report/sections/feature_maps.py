"""Feature maps: activations, Grad-CAM, nearest neighbours and a t-SNE map of the features."""

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd

from pipeline.report.figure import CLASSES, MUTED, Figure, clipped, draw
from pipeline.report.formatting import percent
from pipeline.report.material import Material, Section
from pipeline.report.pictures import apply_colormap, contact_sheet, data_uri, img_tag, overlay_cam
from pipeline.store.label_table import plain_id

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELL = 64  # pixels of a picture in a sheet
CHANNELS = 4  # maps of a level that are shown
SHORT, LONGEST = 20, 30  # letters of a class below the map: three such beside each other; at most, two
NEAREST = 10  # neighbours that are counted
SHOWN = 6  # neighbours that are shown
MARKERS = "o^sDvPX*"  # of classes beyond the colours
MOSAIC = (14, 22, 40)  # rows, columns, pixels of a galaxy on the map of features


def section(material: Material) -> Section:
    """Activations and Grad-CAM of every run, neighbours and map of the best."""
    found = {entry.name: load(material, entry.name) for entry in material.board.of_kind("run")}
    missing = [name for name, arrays in found.items() if arrays is None]
    known = {name: arrays for name, arrays in found.items() if arrays is not None}
    facts: dict[str, Any] = {
        "missing": missing,
        "command": material.store.command("insight").strip("`"),
        "runs": [],
        "map": None,
    }
    if not known:
        finding = "No network of this plan was inspected."
        return Section("feature-maps", "Feature maps", finding, facts)
    facts["runs"] = [run_facts(material, name, arrays) for name, arrays in known.items()]
    best, arrays = next(iter(known.items()))
    alike = facts["runs"][0]["alike"]
    finding = (
        f"In the features of {best}, {percent(alike)} of the {NEAREST} nearest neighbours of a galaxy "
        f"{material.words.labelled} belong to its own class; by chance it would be "
        f"{percent(facts['runs'][0]['chance'])}."
    )
    drawn = features_map(material, arrays)
    facts |= {"best": best, "map": drawn, "mosaic": mosaic(material, arrays)}
    facts["neighbours"] = neighbours(material, arrays)
    return Section("feature-maps", "Feature maps", finding, facts, (drawn,))


def load(material: Material, run: str) -> dict[str, np.ndarray] | None:
    """The arrays of a run's insight.npz; None where it is missing."""
    artifact = material.store.insight(run)
    if artifact.record() is None:
        return None
    with np.load(artifact.verified(), allow_pickle=False) as file:
        return dict(file)


def run_facts(material: Material, run: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """A run's activations, Grad-CAM of each galaxy's answers, and how often neighbours share a class."""
    lines = []
    for i, seen in enumerate(arrays["seen"]):
        maps = [arrays[f"level_{level}"][i, :, :, channel] for level in range(3) for channel in range(CHANNELS)]
        lines.append([enlarged(seen), *(enlarged(apply_colormap(stretched(one))) for one in maps)])
    alike, chance = same_class(material, arrays)
    return {
        "name": run,
        "levels": arrays["level_names"].tolist(),
        "activations": data_uri(contact_sheet(lines)),
        "cams": [grad_cams(material, arrays, i) for i in range(len(arrays["ids"]))],
        "alike": alike,
        "chance": chance,
    }


def grad_cams(material: Material, arrays: dict[str, np.ndarray], i: int) -> dict[str, Any]:
    """One galaxy and the Grad-CAM overlay for each of three answers."""
    schema, seen, galaxy = material.schema, arrays["seen"][i], plain_id(arrays["ids"][i])
    shown = []
    for column, cam in zip(arrays["cam_answers"][i], arrays["cam"][i], strict=True):
        answer = schema.labels[schema.columns[column]]
        picture = img_tag(data_uri(overlay_cam(seen, cam)), f"where “{answer}” comes from in galaxy {galaxy}")
        shown.append({"answer": answer, "picture": picture, "fraction": float(arrays["predicted"][i, column])})
    return {
        "id": galaxy,
        "picture": img_tag(data_uri(seen), f"galaxy {galaxy} as the network sees it"),
        "answers": shown,
    }


def stretched(values: np.ndarray) -> np.ndarray:
    """A map (h, w) from its own darkest 0 to its brightest 1, so that a faint one is seen as well; 0 where it is even.

    A scale that galaxies shared would leave most maps black beside the brightest.
    """
    values = np.asarray(values, np.float64)
    reach = np.ptp(values)
    return (values - values.min()) / reach if reach > 0 else np.zeros_like(values)


def enlarged(picture: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3) at the side of a sheet's cell; pixels of small maps stay visible."""
    method = cv2.INTER_AREA if picture.shape[0] > CELL else cv2.INTER_NEAREST
    return cv2.resize(picture, (CELL, CELL), interpolation=method)


def nearest(features: np.ndarray, count: int) -> np.ndarray:
    """Rows of the `count` nearest others by the angle between features (n, d): (n, count), nearest first."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -np.inf)
    return np.argsort(-similar, axis=1, kind="stable")[:, :count]


def classes_of(material: Material, ids: np.ndarray) -> np.ndarray:
    """Five-class labels (n,) of galaxies by their ids."""
    return pd.Series(material.classes[0], material.board.ids).loc[ids].to_numpy()


def same_class(material: Material, arrays: dict[str, np.ndarray]) -> tuple[float, float]:
    """Share of the nearest neighbours, among galaxies with clear votes, of the same class; and that of chance."""
    classes = classes_of(material, arrays["feature_ids"])
    features, classes = arrays["features"][classes >= 0], classes[classes >= 0]
    if len(classes) <= NEAREST:
        return float("nan"), float("nan")
    alike = (classes[nearest(features, NEAREST)] == classes[:, None]).mean()
    shares = np.bincount(classes) / len(classes)
    return float(alike), float((shares**2).sum())


def neighbours(material: Material, arrays: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """For each class two galaxies, the clearest and one of middling clarity, each with its nearest neighbours."""
    ids = arrays["feature_ids"]
    near, classes = nearest(arrays["features"], min(SHOWN, len(ids) - 1)), classes_of(material, ids)
    truth = pd.DataFrame(material.board.truth, material.board.ids).loc[ids].to_numpy()
    found = []
    for i, name in enumerate(material.schema.class_names):
        rows = np.flatnonzero(classes == i)
        rows = rows[np.argsort(-truth[rows, material.schema.class_columns[i]], kind="stable")]
        for row in dict.fromkeys([*rows[:1], *rows[len(rows) // 2 :][:1]]):
            galaxies = [_picture(material, plain_id(ids[other])) for other in near[row]]
            found.append({"class": name, "query": _picture(material, plain_id(ids[row])), "found": galaxies})
    return found


def _picture(material: Material, galaxy: int | str) -> dict[str, Any]:
    return {"id": galaxy, "picture": img_tag(material.thumbnails.uri(galaxy), f"galaxy {galaxy}")}


def features_map(material: Material, arrays: dict[str, np.ndarray]) -> Figure:
    """Galaxies on the map of features, coloured by class; those without clear votes are grey."""
    ids = arrays["feature_ids"]
    classes = classes_of(material, ids)
    names = np.array([*material.schema.class_names, material.words.unclear])
    across = 3 if max(map(len, names)) <= SHORT else 2
    x, y = arrays["map"].T
    numbers = pd.DataFrame({"GalaxyID": ids, "x": x, "y": y, "class": names[classes]})

    def on(axes: "Axes") -> None:
        for i in range(-1, len(names) - 1):
            colour = MUTED if i < 0 else CLASSES[i % len(CLASSES)]
            mine = numbers[classes == i]
            style = {"alpha": 0.25, "s": 4} if i < 0 else {"alpha": 0.8, "s": 8}
            style["marker"] = MARKERS[max(i, 0) // len(CLASSES) % len(MARKERS)]
            axes.scatter(mine["x"], mine["y"], color=colour, linewidths=0, label=clipped(names[i], LONGEST), **style)
        axes.set_axis_off()
        marks = axes.figure.legend(loc="outside lower center", ncols=across, handletextpad=0.2, columnspacing=1.0)
        for handle in marks.legend_handles:
            handle.set(sizes=[28], alpha=1)

    alt = "Galaxies on a map where neighbours have similar features, coloured by their class."
    return draw("map", alt, numbers, on, size=(5.2, 3.65 + 0.17 * -(-len(names) // across)), title="The map by class")


def mosaic(material: Material, arrays: dict[str, np.ndarray]) -> str:
    """The same map as pictures: in each cell of a grid the galaxy that lies nearest its middle; a data URI."""
    rows, columns, side = MOSAIC
    places = arrays["map"] - arrays["map"].min(axis=0)
    places = places / np.maximum(places.max(axis=0), 1e-9)
    made = np.zeros((rows * side, columns * side, 3), np.uint8)
    cell = np.minimum((places * (columns, rows)).astype(int), (columns - 1, rows - 1))
    off = np.abs(places * (columns, rows) - cell - 0.5).max(axis=1)
    order = pd.DataFrame({"x": cell[:, 0], "y": cell[:, 1], "off": off}).sort_values("off", kind="stable")
    for row in order.drop_duplicates(["x", "y"]).itertuples():
        pixels = material.thumbnails.pixels(plain_id(arrays["feature_ids"][row.Index]))
        y, x = (rows - 1 - row.y) * side, row.x * side
        made[y : y + side, x : x + side] = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    return data_uri(made)
