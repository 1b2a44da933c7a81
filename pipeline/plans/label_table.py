"""The TOML file of a label schema, checked: questions, answers and classes, and the `Schema` that they make.

A schema is strict, as plans are: an unknown key or value is an error that names its place and what is allowed.
"""

from collections.abc import Iterable
from itertools import combinations
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.core.labels import KINDS, DerivedClass, Question, Schema
from pipeline.plans.strict import Strict

RESERVED = {"id", "GalaxyID", "ra", "dec", "image", "reason", "caveat"}  # columns of tables of predictions
Text = Annotated[str, Field(min_length=1, max_length=200)]
Share = Annotated[float, Field(ge=0, le=1)]


class QuestionTable(Strict):
    """One question of a schema."""

    name: Text
    text: str = ""  # for people; the name by default
    answers: tuple[Text, ...] = Field(min_length=2)
    texts: tuple[Text, ...] = ()  # of the answers, for people; the answers by default
    parent: tuple[Text, ...] = ()  # "question: answer" that leads to it; of several only one can hold
    column: Text | None = None  # of kind "class", where it is not named as the question
    codes: tuple[Text, ...] = ()  # of kind "class": what a table may say in place of the answers, such as numbers

    @field_validator("parent", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> "QuestionTable":
        if twice := _twice(self.answers):
            raise ValueError(f"the answer {twice!r} is given twice; answers must differ")
        for key, values in (("texts", self.texts), ("codes", self.codes)):
            if values and len(values) != len(self.answers):
                raise ValueError(f"{key}: expected one for each of {len(self.answers)} answers; received {len(values)}")
        return self


class ClassTable(Strict):
    """One derived class: galaxies with clear votes."""

    name: Text
    least: dict[str, Share] = Field(min_length=1)  # "question: answer" -> the least fraction; the last is its own
    published_recall: Share | None = None


class LabelTable(Strict):
    """A schema as it stands in its file."""

    kind: Literal[KINDS]
    source: str = ""
    id: Text | None = None
    image: Text | None = None
    columns: Text = "{question}_{answer}"  # of the answers in a table; {q} and {a} are their numbers
    fractions: Literal["joint", "conditional"] = "joint"  # shares of all volunteers, or of those who were asked
    class_weights: Literal["none", "balanced"] = "none"
    questions: tuple[QuestionTable, ...] = Field(min_length=1)
    classes: tuple[ClassTable, ...] = ()
    published_accuracy: Share | None = None
    volunteers: int | None = Field(None, ge=2)  # who saw a galaxy, on average

    @model_validator(mode="after")
    def _is_sound(self) -> "LabelTable":
        if twice := _twice(question.name for question in self.questions):
            raise ValueError(f"@questions: two are named {twice!r}; names must differ")
        known: dict[str, str] = {}
        for i, question in enumerate(self.questions):
            for parent in question.parent:
                if parent not in known:
                    _refuse_parent(self.questions, i, parent, known)
            self._require_one_parent(i)
            known |= {f"{question.name}: {answer}": answer for answer in question.answers}
        if twice := _twice(column for q, _ in enumerate(self.questions) for column in self._columns_of(q)):
            raise ValueError(f"@columns: {self.columns!r} names the column {twice!r} twice")
        columns = {column for q, _ in enumerate(self.questions) for column in self._columns_of(q)}
        for i, question in enumerate(self.questions):
            if question.name in RESERVED | columns:
                raise ValueError(f"@questions[{i}].name: {question.name!r} is a column of tables; choose another name")
        for i, one in enumerate(self.classes):
            for place in one.least:
                if place not in known:
                    raise ValueError(f"@classes[{i}].least: no answer {place!r}; the answers are {', '.join(known)}")
        if self.class_weights == "balanced" and self.kind != "class":
            raise ValueError('@class_weights: "balanced" weighs classes: it needs kind = "class"')
        return self

    def _columns_of(self, q: int) -> tuple[str, ...]:
        question = self.questions[q]
        parts = {"question": question.name, "q": q + 1}
        try:
            return tuple(self.columns.format(**parts, answer=a, a=i) for i, a in enumerate(question.answers, 1))
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError(
                f"@columns: {self.columns!r} is no pattern of {{question}}, {{answer}}, {{q}} and {{a}} ({error})"
            ) from None

    def schema(self, name: str) -> Schema:
        """The schema of that name."""
        columns = [self._columns_of(q) for q in range(len(self.questions))]
        column = {
            f"{question.name}: {answer}": c
            for question, of_question in zip(self.questions, columns, strict=True)
            for answer, c in zip(question.answers, of_question, strict=True)
        }
        questions = tuple(
            Question(i, q.name, q.text or q.name, q.answers, q.texts or q.answers, of_question,
                     tuple(column[parent] for parent in q.parent),
                     (q.column or q.name) if self.kind == "class" else None, q.codes)
            for i, (q, of_question) in enumerate(zip(self.questions, columns, strict=True), 1)
        )  # fmt: skip
        classes = tuple(
            DerivedClass(one.name, tuple((column[place], least) for place, least in one.least.items()),
                         one.published_recall)
            for one in self.classes
        )  # fmt: skip
        return Schema(
            name=name,
            kind=self.kind,
            questions=questions,
            own_classes=classes,
            published_accuracy=self.published_accuracy,
            volunteers=self.volunteers,
            id=self.id,
            image=self.image,
            conditional=self.fractions == "conditional",
            balanced=self.class_weights == "balanced",
        )

    def _require_one_parent(self, i: int) -> None:
        """ValueError where two parents of a question may be given by one volunteer: it would be reached twice."""
        places = {f"{q.name}: {answer}": k for k, q in enumerate(self.questions) for answer in q.answers}

        def exclusive(one: str, other: str) -> bool:
            """Whether nobody can give both: at some question above them they take different ways."""
            first, later = sorted((one, other), key=places.get)
            if places[first] == places[later]:
                return first != later
            above = self.questions[places[later]].parent
            return bool(above) and all(exclusive(first, parent) for parent in above)

        for one, other in combinations(self.questions[i].parent, 2):
            if not exclusive(one, other):
                raise ValueError(
                    f"@questions[{i}].parent: one volunteer may answer both {one!r} and {other!r}, and would be asked "
                    f"twice: give answers of which only one can hold"
                )


def _twice(names: Iterable[str]) -> str | None:
    """The first name that repeats an earlier one."""
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)


def _refuse_parent(questions: tuple[QuestionTable, ...], i: int, parent: str, known: dict[str, str]) -> None:
    """ValueError for a question with a parent that is no answer of an earlier question."""
    where = f"@questions[{i}].parent: {parent!r}"
    if parent in [f"{q.name}: {answer}" for q in questions[i:] for answer in q.answers]:
        whose = "the question itself" if parent.startswith(f"{questions[i].name}: ") else "a later question"
        raise ValueError(
            f"{where} is an answer of {whose}: a question stands after the one that leads to it, so that no circle "
            f"can arise"
        )
    raise ValueError(f'{where} is no "question: answer" before it; these are: {", ".join(known) or "none"}')


def keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys that a table of a schema may have."""
    tables = {"questions": QuestionTable, "classes": ClassTable}
    names = [part for part in location if isinstance(part, str)]
    return sorted((tables[names[0]] if names else LabelTable).model_fields)
