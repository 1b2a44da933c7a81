"""The calibration of an ensemble that is about to classify."""

from pipeline.errors import UserError
from pipeline.models.classifier import Classifier
from pipeline.store import calibration
from pipeline.store.calibration import Calibration


def of_classifier(classifier: Classifier, level: float) -> Calibration:
    """Intervals that hold `level` of the answers. UserError where it sees other views than those that calibrate them,
    or is made from what is not there any more.
    """
    store, name = classifier.store, classifier.folder.name
    for member in classifier.members:
        trained = store.predicted(member.run.name, 0).fact("spec", dict).get("views", member.run.views)
        if member.run.views != trained:
            raise UserError(
                f"intervals are calibrated on the predictions of {member.run.name} by the views {trained}, and --views "
                f"asks for {member.run.views}, whose errors are others: leave out --views, or --intervals"
            )
    calibration.require_current(store, name)
    return calibration.fit(classifier.schema, calibration.load(store, name), level)
