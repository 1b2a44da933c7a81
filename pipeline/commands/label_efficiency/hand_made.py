"""Random forest and support vector machine on few labels, with hand-made features of the galaxies."""

import numpy as np

from pipeline.commands.label_efficiency.networks import Learner
from pipeline.commands.label_efficiency.setting import Setting
from pipeline.core import morphology
from pipeline.core.metrics import filled
from pipeline.stages import baselines
from pipeline.store.records import atomic
from pipeline.store.unit import Unit


def features_unit(setting: Setting) -> Unit:
    """The hand-made features of all galaxies."""
    crop = setting.plan.crop_of_baselines()
    artifact = setting.store.efficiency_features(setting.run.name, "hand-made", tuned=setting.tuned)
    sources = {"crops": setting.store.crops(crop, "train")}
    return Unit("label-efficiency", "hand-made features", artifact, {"features": list(morphology.FEATURES)}, sources)


def features(setting: Setting, *, fresh: bool) -> np.ndarray:
    """Hand-made features (n, f), computed once."""
    unit = features_unit(setting)
    if fresh or unit.state()[0] != "complete" or unit.artifact.checksum_mismatches():
        made = baselines.load(setting.plan, setting.store).features()
        unit.artifact.begin()
        with atomic(unit.artifact.files[0]) as path:
            np.save(path, made)
        unit.finish()
    return np.load(unit.artifact.verified())


def learner(setting: Setting, name: str, *, fresh: bool) -> Learner:
    """A baseline of that name."""
    made, (_, model), labels = features(setting, fresh=fresh), baselines.MODELS[name], setting.data[1]

    def learn(rows: np.ndarray, seed: int) -> np.ndarray:
        known = filled(labels[rows].astype(np.float64))
        return baselines.as_answers(setting.schema, model(made[rows], known, made[setting.held_out], seed))

    return learn
