"""Uploads of submissions to Kaggle and their scores: sent once, confirmed by Kaggle's list, recorded."""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import pandas as pd

from pipeline.competition import kaggle_client
from pipeline.competition.source_files import SLUG
from pipeline.errors import UserError
from pipeline.execution import locks
from pipeline.plans.config import Plan
from pipeline.store import dependencies
from pipeline.store.artifacts import Store
from pipeline.store.records import Artifact, atomic, file_digest

if TYPE_CHECKING:
    from kaggle.api.kaggle_api_extended import KaggleApi

log = logging.getLogger(__name__)
PAGE_SIZE = 100  # latest submissions that are requested
CONFIRM_TIMEOUT = 60  # seconds after which a submission that is not listed counts as refused
POLL_INTERVAL = 5  # seconds between two requests for the list


@dataclass(frozen=True)
class Upload:
    """One submission as Kaggle lists it, with its ensemble and out-of-fold score."""

    ensemble: str
    sha256: str  # of the file
    rmse: float  # out of fold, of the ensemble that it was written from
    message: str
    ref: int  # Kaggle's number of it
    at: str
    status: str  # pending, complete or error
    public: float  # NaN where there is none (yet)
    private: float
    error: str


def digest_mark(digest: str) -> str:
    """The end of a submission's description, which identifies its file: the start of the sha256."""
    return f"#{digest[:12]}"


def describe(plan: Plan, store: Store, name: str) -> str:
    """The default description: ensemble, members, method, out-of-fold RMSE and the version of the code."""
    record = store.ensemble(name).required()
    members = " + ".join(next(e for e in plan.ensembles if e.name == name).runs)
    code = record["made"]["code"]
    return f"{plan.name}/{name}: {members} ({record['method']}), out-of-fold RMSE {record['rmse']:.5f}, code {code}"


def load(store: Store) -> pd.DataFrame:
    """All uploads of a plan, the first first; empty where there are none."""
    artifact = store.uploads()
    if artifact.record() is None:
        return pd.DataFrame(columns=list(Upload.__annotations__))
    texts = {name: str for name, kind in Upload.__annotations__.items() if kind is str}  # an ensemble may be named 007
    scores = {"public": [""], "private": [""]}
    return pd.read_csv(artifact.verified(), dtype=texts, keep_default_na=False, na_values=scores)


def record_upload(store: Store, upload: Upload) -> None:
    """Add an upload to the record, or replace its earlier entry."""
    frame = load(store)
    rows = pd.DataFrame([asdict(upload)])
    frame = rows if frame.empty else pd.concat([frame[frame["ref"] != upload.ref], rows])
    unit = dependencies.Unit("submit", "uploads", store.uploads(), {})
    unit.artifact.begin()
    with atomic(unit.artifact.files[0]) as path:
        frame.to_csv(path, index=False)
    unit.finish()


def current_scores(store: Store, name: str) -> tuple[float, float]:
    """(public, private) score of an ensemble's current submission; NaN where Kaggle has not scored it."""
    record, frame = store.submission(name).record(), load(store)
    if record is None or frame.empty:
        return float("nan"), float("nan")
    digest = next(iter(record["files"].values()))["sha256"]
    found = frame[(frame["ensemble"] == name) & (frame["sha256"] == digest)]
    return tuple(found.iloc[-1][["public", "private"]].astype(float)) if len(found) else (float("nan"), float("nan"))


class Uploader:
    """Sends the submissions of one plan."""

    def __init__(self, api: "KaggleApi", plan: Plan, store: Store):
        self.api, self.plan, self.store = api, plan, store

    def send(self, name: str, message: str | None, agreed: Callable[[str], bool], wait: float) -> Upload:
        """Upload an ensemble's submission unless Kaggle already has the file; wait up to `wait` seconds for the score.

        `agreed` is called for confirmation before one of the day's submissions is used. UserError where Kaggle
        rejects it, or another process is uploading.
        """
        with locks.holding(self.store.uploads().record_path.with_name(".sending.lock")):
            return self._send(name, message, agreed, wait)

    def _send(self, name: str, message: str | None, agreed: Callable[[str], bool], wait: float) -> Upload:
        artifact = self.store.submission(name)
        digest = file_digest(artifact.verified())
        upload = self._scored_before(digest) or self._look(name, digest)
        if upload:
            log.info("%-10s %s is on Kaggle already, sent %s", "upload", artifact.files[0].name, upload.at)
        else:
            text = f"{message or describe(self.plan, self.store, name)} {digest_mark(digest)}"
            if not agreed(f"Upload {artifact.files[0]} to {SLUG} as “{text}”? {self._left()}"):
                raise UserError("nothing was uploaded")
            upload = self._upload(artifact, name, digest, text)
        record_upload(self.store, upload)
        return self._scored(upload, digest, wait)

    def _scored_before(self, digest: str) -> Upload | None:
        """The upload of this file, where its scores are known already."""
        frame = load(self.store)
        rows = frame[(frame["sha256"] == digest) & (frame["status"] == "complete")].to_dict("records")
        return Upload(**rows[-1]) if rows else None

    def _look(self, name: str, digest: str) -> Upload | None:
        """The submission of this file in Kaggle's list; None where it is not there."""
        with kaggle_client.errors_as_sentences("listing the submissions"):
            listed = self.api.competition_submissions(SLUG, page_size=PAGE_SIZE) or []
        found = next((item for item in listed if (item.description or "").endswith(digest_mark(digest))), None)
        if found is None:
            return None
        return Upload(
            name,
            digest,
            self.store.ensemble(name).fact("rmse", float),
            found.description,
            found.ref,
            f"{found.date:%Y-%m-%d %H:%M}" if found.date else "",
            found.status.name.lower(),
            _number(found.public_score),
            _number(found.private_score),
            found.error_description or "",
        )

    def _upload(self, artifact: Artifact, name: str, digest: str, text: str) -> Upload:
        """Upload the file and wait until Kaggle lists it: the client's answer is no proof."""
        with kaggle_client.errors_as_sentences("uploading"):
            answer = self.api.competition_submit(str(artifact.files[0]), text, SLUG)
        until = time.monotonic() + CONFIRM_TIMEOUT
        while not (found := self._look(name, digest)):
            if time.monotonic() > until or answer.message == self.api.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE:
                message = " ".join((answer.message or "nothing").split())[:200]
                raise UserError(
                    f"Kaggle does not list the submission, so it counts as refused. The client said: {message}"
                )
            time.sleep(POLL_INTERVAL)
        log.info("%-10s %s was taken (%s)", "upload", artifact.files[0].name, found.ref)
        return found

    def _scored(self, upload: Upload, digest: str, wait: float) -> Upload:
        """The upload with its scores; as it is where they take longer than `wait` seconds."""
        until = time.monotonic() + wait
        while upload.status == "pending":
            if time.monotonic() > until:
                log.warning("%-10s no score yet: the same command asks again", "upload")
                return upload
            time.sleep(POLL_INTERVAL)
            upload = self._look(upload.ensemble, digest) or upload
        record_upload(self.store, upload)
        if upload.status == "error":
            raise UserError(f"Kaggle could not score {upload.ensemble}: {upload.error or 'it does not say why'}")
        return upload

    def _left(self) -> str:
        """How many submissions are left today; "" where Kaggle does not know the user's team yet."""
        with kaggle_client.errors_as_sentences("asking how many submissions are left"):
            limits = self.api.competition_get_submission_limits(SLUG)
        known = limits.num_today or limits.num_allowed_now
        return f"It is one of {limits.num_allowed_now} that are left today." if known else ""


def _number(text: str | None) -> float:
    """A score as Kaggle lists it; NaN where it is empty."""
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
