"""A model card of an ensemble: Markdown below a YAML front matter, as model hubs read it; from records alone."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core import metrics, stats
from pipeline.core.durations import duration
from pipeline.core.labels import Schema
from pipeline.errors import UserError
from pipeline.report import chance, coverage, wording
from pipeline.report.caveats import SOURCES
from pipeline.report.coverage import Coverage
from pipeline.report.formatting import FILTERS
from pipeline.store import calibration, network_caveats
from pipeline.store.artifacts import Store
from pipeline.store.calibration import LEVEL, OutOfFold

TEMPLATES = Path(__file__).parent / "templates"
MARK = "<!-- written by ./run.sh card from the records of its output folder -->"


def card(store: Store, name: str, format: str = "") -> str:
    """The card of an ensemble; `format` of the file beside which it lies. UserError where it is missing or outdated."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    if not store.ensemble(name).exists():
        raise UserError(f"{store.ensemble(name).record_path} is missing: {store.ensemble(name).make}")
    calibration.require_current(store, name)
    schema, oof, every = store.schema(), calibration.load(store, name), calibration.load(store, name, every=True)
    made = coverage.measure(schema, oof, LEVEL)
    scores, sure = scored(store, schema, every), coverage.measure_confidence(schema, oof)
    record, runs = store.ensemble(name).required(), store.ensemble(name).fact("weights", dict)
    trained = network_caveats.trained_records(store, dict.fromkeys(runs, int(oof.fold.max()) + 1))
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= FILTERS
    return environment.get_template("card.md.jinja").render(
        front=front_matter(store, name, schema, scores, made),
        mark=MARK,
        title=f"{store.root.name}/{name}",
        schema=schema,
        words=wording.of(schema),
        decides=metrics.deciding(schema),
        scores=scores,
        coverage=made,
        bound=100 * coverage.BOUND,
        errors=sure.errors if sure else None,
        questions=by_question(schema, every, made),
        data=data(store, oof),
        runs=[_run(run, trained[run], weight) for run, weight in runs.items()],
        method=record.get("method", ""),
        made=record["made"],
        digest=record["digest"],
        seconds=duration(sum(_seconds(store, run, folds) for run, folds in _with_first(store, trained).items())),
        caveats=[
            *network_caveats.of_ensemble(store, name, {run: len(folds) for run, folds in trained.items()}),
            *chance.caveats(store, schema, name, every.ids, _errors(schema, every)),
        ],
        format=format,
    )


def scored(store: Store, schema: Schema, oof: OutOfFold) -> dict[str, Any]:
    """The score that decides, out of fold, with its 95 % interval, and those of the baselines from their records."""
    decides, errors = metrics.deciding(schema), _errors(schema, oof)
    errors = errors[np.isfinite(errors)]
    seed = store.folds().fact("spec", dict).get("seed", 0)
    baselines = {name: store.baseline(name).facts().get(decides.name) for name in store.baselines()}
    known = {name: value for name, value in baselines.items() if isinstance(value, float)}
    return {
        "value": decides.of(errors),
        "interval": stats.bootstrap_rmse(errors, seed, finish=decides.finish),
        "galaxies": len(errors),
        "baselines": dict(sorted(known.items(), key=lambda pair: pair[1])),
    }


def _errors(schema: Schema, oof: OutOfFold) -> np.ndarray:
    """Of each galaxy (n,), what the score that decides is the mean of; NaN without a known answer."""
    return metrics.deciding(schema).per_galaxy(schema, oof.truth, oof.predicted)


def by_question(schema: Schema, oof: OutOfFold, made: Coverage) -> list[dict[str, Any]]:
    """Of each question its RMSE, how often the leading answer is right, and how often its intervals hold."""
    rmse = metrics.rmse_per_question(schema, oof.truth, oof.predicted)
    right = metrics.leading_answer_accuracy(schema, oof.truth, oof.predicted)
    rows = zip(schema.questions, rmse.tolist(), right.tolist(), made.by_question.tolist(), strict=True)
    return [dict(zip(("question", "rmse", "right", "held"), row, strict=True)) for row in rows]


def data(store: Store, oof: OutOfFold) -> dict[str, Any]:
    """What it was trained on, as stage 0 recorded it."""
    record = store.inputs().required()
    return {
        "synthetic": network_caveats.is_synthetic(store),
        "folder": Path(record.get("folder", "")).name,
        "train": record.get("n_train", len(oof.truth)),
        "used": len(oof.truth),
        "folds": np.bincount(oof.fold).tolist(),
        "digest": record["digest"],
        "left_out": record.get("left_out", []),
    }


def front_matter(store: Store, name: str, schema: Schema, scores: dict[str, Any], made: Coverage) -> str:
    """The facts that hubs index, in YAML. The licence is for the publisher to decide."""
    import yaml

    decides = metrics.deciding(schema)
    metric = {"type": decides.name, "name": f"{decides.title}, out of fold", "value": round(scores["value"], 5)}
    held = {
        "type": "coverage",
        "name": f"coverage of {100 * made.level:g} % intervals",
        "value": round(made.overall, 4),
    }
    synthetic = " (synthetic galaxies)" if network_caveats.is_synthetic(store) else ""
    result = {
        "task": {"type": "image-classification", "name": "galaxy morphology"},
        "dataset": {"type": schema.name, "name": f"{schema.name}{synthetic}"},
        "metrics": [metric, held],
    }
    front = {
        "library_name": "keras",
        "license": "unknown",
        "pipeline_tag": "image-classification",
        "tags": ["astronomy", "galaxies", "morphology", schema.name],
        "metrics": [decides.name],
        "model-index": [{"name": f"{store.root.name}/{name}", "results": [result]}],
    }
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip()


def _run(name: str, records: list[dict[str, Any]], weight: float | list[float]) -> dict[str, Any]:
    """A member of the ensemble, by the records of its folds."""
    spec, origin = records[0]["spec"], records[0].get("weights", {})
    source = origin.get("source", "not recorded")
    unwanted = source == "random" and not network_caveats.is_as_planned(records[0])
    return {
        "name": name,
        "backbone": spec.get("backbone", ""),
        "share": float(np.mean(weight)),
        "borrowed": source != "random",
        "weights": "RANDOM" if unwanted else SOURCES.get(source, source),
        "file": Path(origin["path"]).name if origin.get("path") else "",
        "sha256": origin.get("sha256") or "",
        "params": records[0].get("params"),
        "pixels": spec.get("input_size"),
        "head": spec.get("head", ""),
        "loss": spec.get("loss", ""),
        "epochs": [record.get("epochs") for record in records],
        "after": spec.get("start_from") or "",
        "fine_tuned": bool(spec.get("fine_tune", {}).get("epochs")),
    }


def _with_first(store: Store, trained: network_caveats.Records) -> network_caveats.Records:
    """The records of these runs, and of those of this plan that they start from."""
    found, names = dict(trained), list(trained)
    for name in names:
        first = found[name][0]["spec"].get("start_from")
        if first and first not in found and store.trained(first, 0).exists():
            found |= network_caveats.trained_records(store, {first: len(found[name])})
            names.append(first)
    return found


def _seconds(store: Store, run: str, trained: list[dict[str, Any]]) -> float:
    """Seconds of training of a run's folds, with those of the frozen backbone's features, as on the leaderboard."""
    features = float(store.features(run).facts().get("seconds") or 0)
    return features + sum(float(record.get("train_seconds") or 0) for record in trained)


def write_beside(folder: Path, text: str) -> Path | None:
    """README.md of a folder, where none is there that we did not write; else None."""
    path = folder / "README.md"
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        return None
    path.write_text(text, encoding="utf-8")
    return path
