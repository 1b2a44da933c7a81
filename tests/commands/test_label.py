"""The page that people label on: its queue, its server by hand, killed in mid-answer, and in a real browser."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.commands import label
from pipeline.commands.label.advice import Advice
from pipeline.commands.label.queue import Queue
from pipeline.commands.label.session import Session
from pipeline.core import acquisition
from pipeline.errors import DamagedImage, UserError
from pipeline.plans.label_schemas import load_schema
from pipeline.stages import inputs
from pipeline.store import answers
from pipeline.store.answers import Answers
from pipeline.store.artifacts import Store
from tests.builders import unlabelled
from tests.builders.unlabelled import line

ROOT = Path(__file__).parents[2]
GALAXIES = [f"g{i:02d}" for i in range(30)]
MODEL = {"name": "p/runs/a", "digest": "123", "rule": acquisition.RULE}


@pytest.fixture
def schema(tmp_path):
    unlabelled.plan(tmp_path)
    return load_schema(str(tmp_path / "asked.toml"))


def sitting(tmp_path, schema, advice: Advice | None = None, wanted: int = 1, picture=str.upper) -> Session:
    return Session(tmp_path / "answers", schema, "abc", GALAXIES, advice or Advice(), picture, wanted)


def answered(session: Session, who: str, state: dict, *names: str) -> dict:
    """The state after these answers, one at a time, to the galaxy that is shown."""
    for name in names:
        state = session.put(who, state["galaxy"], {**state["given"], state["question"]["name"]: name})
    return state


def test_the_tree_is_asked_one_question_at_a_time(tmp_path, schema):
    session = sitting(tmp_path, schema)
    first = session.state("anna")
    assert (first["question"]["name"], first["picture"]) == ("shape", first["galaxy"].upper())
    second = answered(session, "anna", first, "disc")
    assert (second["galaxy"], second["question"]["name"]) == (first["galaxy"], "arms")
    third = answered(session, "anna", second, "few")
    assert third["galaxy"] != first["galaxy"]
    assert third["last"]["galaxy"] == first["galaxy"]
    assert third["progress"] == {"yours": 1, "skipped": 0, "labelled": 1, "galaxies": 30}
    smooth = answered(session, "anna", third, "smooth")
    assert smooth["progress"]["yours"] == 2
    assert [one.answers for one in answers.read(tmp_path / "answers").complete()] in (
        [{"shape": "disc", "arms": "few"}, {"shape": "smooth"}],
        [{"shape": "smooth"}, {"shape": "disc", "arms": "few"}],
    )


def test_undo_goes_back_answer_by_answer_and_galaxy_by_galaxy(tmp_path, schema):
    session = sitting(tmp_path, schema)
    first = session.state("anna")
    state = answered(session, "anna", first, "disc", "few")
    state = session.put("anna", state["galaxy"], {}, skipped=True)
    assert (state["progress"]["skipped"], state["last"]["skipped"]) == (1, True)
    skipped = state["before"]["galaxy"]
    state = session.put("anna", **state["before"])
    assert (state["galaxy"], state["progress"]["skipped"]) == (skipped, 0)
    state = session.put("anna", **state["before"])
    assert (state["galaxy"], state["given"]) == (first["galaxy"], {"shape": "disc"})
    state = session.put("anna", **state["before"])
    assert (state["galaxy"], state["given"], state["before"]) == (first["galaxy"], {}, None)
    assert state["progress"]["labelled"] == 0
    answered(session, "anna", state, "smooth")
    assert [one.answers for one in answers.read(tmp_path / "answers").complete()] == [{"shape": "smooth"}]


def test_the_same_answer_twice_is_kept_once(tmp_path, schema):
    session = sitting(tmp_path, schema)
    galaxy = session.state("anna")["galaxy"]
    states = [session.put("anna", galaxy, {"shape": "smooth"}) for _ in range(3)]
    assert states[0] == states[1] == states[2]
    assert len((tmp_path / "answers" / "anna.jsonl").read_text().splitlines()) == 1


def test_what_was_begun_is_gone_on_with_by_another_server(tmp_path, schema):
    state = answered(first := sitting(tmp_path, schema), "anna", first.state("anna"), "disc")
    again = sitting(tmp_path, schema)
    assert again.state("anna") == state
    other = again.state("ben")
    assert other["galaxy"] != state["galaxy"]
    answered(again, "ben", other, "smooth")
    assert first.state("anna")["progress"]["labelled"] == 1  # two servers on one folder see each other's answers


def test_several_people_get_different_galaxies_until_none_is_left(tmp_path, schema):
    session, people = sitting(tmp_path, schema), ("anna", "ben", "carla")
    assert len({session.state(who)["galaxy"] for who in people}) == 3
    for turn in range(30):
        state = session.state(people[turn % 3])
        answered(session, people[turn % 3], state, "smooth")
    assert [session.state(who)["galaxy"] for who in people] == [None] * 3
    complete = answers.read(tmp_path / "answers").complete()
    assert sorted(one.galaxy for one in complete) == GALAXIES
    assert Counter(one.who for one in complete) == {"anna": 10, "ben": 10, "carla": 10}


def test_several_answers_of_each_galaxy(tmp_path, schema):
    session = sitting(tmp_path, schema, wanted=2)
    for who, answer in (("anna", "smooth"), ("ben", "disc"), ("carla", "smooth")):
        state = session.state(who)
        while state["galaxy"]:
            state = answered(session, who, state, *(["disc", "few"] if answer == "disc" else ["smooth"]))
    found = answers.by_galaxy(answers.read(tmp_path / "answers").complete())
    assert sorted(found) == GALAXIES
    assert {tuple(one.who for one in lines) for lines in found.values()} == {("anna", "ben")}


def test_an_image_that_cannot_be_shown_is_passed_over(tmp_path, schema):
    def picture(galaxy: str) -> str:
        if galaxy in GALAXIES[:29]:
            raise DamagedImage("is cut short")
        return galaxy

    session = sitting(tmp_path, schema, picture=picture)
    state = session.state("anna")
    assert (state["galaxy"], state["progress"]["galaxies"]) == (GALAXIES[29], 30)
    assert answered(session, "anna", state, "smooth")["galaxy"] is None


def test_what_the_model_thinks_comes_after_the_answer(tmp_path, schema):
    joint = {galaxy: np.array([0.3, 0.7, 0.56, 0.14]) for galaxy in GALAXIES}
    session = sitting(tmp_path, schema, Advice(GALAXIES[:5], joint, MODEL))
    state = session.state("anna")
    assert "0.7" not in json.dumps(state)
    told = answered(session, "anna", state, "disc", "many")["last"]["questions"]
    assert [one["model"] for one in told] == ["disc", "few"]
    assert [one["share"] for one in told] == pytest.approx([0.7, 0.8])
    assert [one["share_of_yours"] for one in told] == pytest.approx([0.7, 0.2])


def test_lines_say_who_when_how_chosen_and_by_which_model(tmp_path, schema):
    by_rule = [one for one in GALAXIES if acquisition.chance(one) >= acquisition.BY_CHANCE][:10]
    session, state = sitting(tmp_path, schema, Advice(by_rule, {}, MODEL)), None
    for _ in range(30):
        state = answered(session, "anna", state or session.state("anna"), "smooth")
    lines = list(answers.read(tmp_path / "answers").lines.values())
    assert all((one.who, one.model, one.schema) == ("anna", MODEL, "abc") for one in lines)
    assert all(one.when.startswith("20") and one.when.endswith("+00:00") for one in lines)
    chosen = {one.galaxy: one.chosen for one in lines}
    assert {one for one, how in chosen.items() if how == "rule"} == set(by_rule)
    kept = {one for one in GALAXIES if acquisition.chance(one) < acquisition.BY_CHANCE}
    assert {one for one, how in chosen.items() if how == "random"} == kept
    in_order = [one.galaxy for one in lines if one.chosen == "random"]
    assert in_order == acquisition.by_chance(in_order)  # whatever part of it is labelled, it is a random one


def test_before_any_network_all_are_random_and_after_it_the_rest_is_not():
    first = Queue(GALAXIES, [], Answers(), 1)
    assert first.order == acquisition.by_chance(GALAXIES)
    assert {first.chosen_as(one) for one in GALAXIES} == {"random"}
    ruled = Answers({("anna", "g00"): line("g00", "smooth", chosen="rule")})
    later = Queue(GALAXIES, [], ruled, 1)
    assert {later.chosen_as(one) for one in GALAXIES} == {"random", "rest"}


@pytest.mark.parametrize(("who", "galaxy", "given", "said"), [
    ("../anna", "g00", {"shape": "smooth"}, "is no name here"),
    ("", "g00", {}, "is no name here"),
    ("a" * 41, "g00", {}, "is no name here"),
    ("anna", "g99", {"shape": "smooth"}, "not among those to be labelled"),
    ("anna", "g00", {"shape": "round"}, "no way down the questions"),
    ("anna", "g00", {"arms": "few"}, "no way down the questions"),
])  # fmt: skip
def test_what_is_no_answer_is_refused_and_nothing_is_written(tmp_path, schema, who, galaxy, given, said):
    with pytest.raises(UserError, match=said):
        sitting(tmp_path, schema).put(who, galaxy, given)
    assert not (tmp_path / "answers").exists()


def test_answers_begun_under_another_schema_are_begun_anew(tmp_path, schema):
    answers.append(tmp_path / "answers", replace(line("g00"), answers={"ring": "yes"}, state="begun"))
    state = sitting(tmp_path, schema).state("anna")
    assert (state["galaxy"], state["given"], state["question"]["name"]) == ("g00", {}, "shape")


class Server:
    """The command as a process of its own, on a folder of images without labels."""

    def __init__(self, place: Path, port: int = 0):
        flags = ["--plan", "mine.toml", "--input", "mine", "--output", "output", "--random", "--port", str(port)]
        command = [sys.executable, "-m", "pipeline", "label", *flags]
        environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(place)}
        self.process = subprocess.Popen(command, cwd=place, env=environment, stderr=subprocess.PIPE, text=True)
        self.said = ""
        for said in self.process.stderr:
            self.said += said
            if "http://" in said:
                break
        self.address = self.said.split("http://")[-1].split()[0] if "http://" in self.said else ""
        self.port = int(self.address.rpartition(":")[2] or 0)

    def ask(self, where: str, body: object = None) -> tuple[int, dict]:
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(f"http://{self.address}{where}", data=data, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stderr.close()


@pytest.fixture
def place(tmp_path):
    """A folder with a plan and images, and the servers that were started on it."""
    unlabelled.folder(tmp_path, 60)
    unlabelled.plan(tmp_path)
    started: list[Server] = []

    def serve(port: int = 0) -> Server:
        started.append(Server(tmp_path, port))
        return started[-1]

    yield SimpleNamespace(folder=tmp_path, answers=tmp_path / "output" / "mine" / "answers", serve=serve)
    for server in started:
        if server.process.poll() is None:
            server.kill()


def test_a_server_killed_in_mid_answer_loses_and_doubles_nothing(place):
    server = place.serve()
    state, kept = server.ask("/next?who=anna")[1], {}
    for name in ("smooth", "disc", "few", "disc"):
        kept[state["galaxy"]] = {**state["given"], state["question"]["name"]: name}
        body = {"who": "anna", "galaxy": state["galaxy"], "given": kept[state["galaxy"]]}
        state = server.ask("/answer", body)[1]
    server.kill()
    assert inputs.choose_folder(None, Store(place.answers.parent), has_sky=False) == place.folder / "mine"
    server = place.serve(server.port)
    assert "2 of 60 galaxies are labelled by now, and 0 in the table" in server.said
    assert server.ask("/answer", body)[1] == state  # as a page does that had no answer to its last one
    assert server.ask("/next?who=anna")[1] == state
    assert state["given"] == {"shape": "disc"}
    found = answers.read(place.answers)
    assert {galaxy: one.answers for (_, galaxy), one in found.lines.items()} == kept
    assert len((place.answers / "anna.jsonl").read_text().splitlines()) == 4
    for where, sent, code in (
        ("/answer", [], 422), ("/answer", {"who": "anna"}, 422), ("/answer", {**body, "given": {"shape": 1}}, 422),
        ("/answer", "x" * 70_000, 413), ("/next?who=..%2Fx", None, 422), ("/next", None, 422),
        ("/..%2f..%2fmine.toml", None, 404), ("/answers/anna.jsonl", None, 404),
    ):  # fmt: skip
        got, told = server.ask(where, sent)
        assert (got, isinstance(told["detail"], str)) == (code, True), where
    assert answers.read(place.answers).lines == found.lines


@pytest.mark.parametrize(("flags", "said"), [
    (["--port", "80000"], "from 0 to 65535"),
    (["--people", "0"], "expected 1 or more"),
    (["--input", "no/such/folder"], "there is no folder"),
])  # fmt: skip
def test_what_is_wrong_is_said_before_anybody_labels(tmp_path, flags, said):
    unlabelled.folder(tmp_path, 1)
    plan = unlabelled.plan(tmp_path)
    given = ["--plan", str(plan), "--output", str(tmp_path / "output"), "--port", "0"]
    with pytest.raises(UserError, match=said):
        label.main([*given, "--input", str(tmp_path / "mine"), *flags])
    assert not (tmp_path / "output").exists()


def test_the_competitions_galaxies_have_their_votes(survey):
    with pytest.raises(UserError, match="whose galaxies all have votes: to label others"):
        label.main([*survey.flags, "--port", "0"])


@pytest.fixture
def page(browser):
    """A page, and what went wrong on it."""
    opened = browser.new_page()
    opened.wrong = []
    opened.on("pageerror", lambda error: opened.wrong.append(str(error)))
    yield opened
    opened.close()


def begin(page, server: Server, who: str) -> None:
    page.goto(f"http://{server.address}")
    page.fill("#who", who)
    page.keyboard.press("Enter")
    page.wait_for_selector("#work:not([hidden]):not(.busy) #answers button")


def press(page, key: str) -> None:
    page.keyboard.press(key)
    page.wait_for_selector("#work:not(.busy)")


def test_a_key_is_an_answer_and_u_takes_it_back(place, page):
    begin(page, place.serve(), "anna")
    first = page.inner_text("#galaxy")
    assert page.is_hidden("#last")
    assert page.evaluate("document.getElementById('seen').naturalWidth") == label.SIDE
    press(page, "2")
    assert (page.inner_text("#question"), page.inner_text("#galaxy")) == ("arms", first)
    press(page, "9")  # no answer has it
    press(page, "1")
    assert page.inner_text("#galaxy") != first
    assert "you: disc" in page.inner_text("#last")
    assert page.inner_text("#progress").startswith("anna: 1 labelled")
    press(page, "u")
    press(page, "u")
    assert (page.inner_text("#galaxy"), page.inner_text("#question")) == (first, "shape")
    press(page, "s")
    assert page.inner_text("#progress").startswith("anna: 0 labelled, 1 skipped")
    page.locator("#answers button").first.click()
    page.wait_for_selector("#progress:has-text('1 labelled')")
    states = Counter(one.state for one in answers.read(place.answers).lines.values())
    assert states == {"skipped": 1, "complete": 1}
    assert page.wrong == []


@pytest.mark.slow
def test_fifty_galaxies_with_a_server_killed_twice(place, page):
    server = place.serve()
    begin(page, server, "anna")
    said: dict[str, dict[str, str]] = {}
    while len(said) < 50 or page.inner_text("#question") != "shape":
        galaxy, question = page.inner_text("#galaxy"), page.inner_text("#question")
        key = (len(said) * 7) % 3 % 2
        name = {"shape": ("smooth", "disc"), "arms": ("few", "many")}[question][key]
        said[galaxy] = said.get(galaxy, {}) | {question: name}
        if len(said) in (17, 34) and question == "shape":
            server.kill()  # before the answer that is typed next: the page keeps it until it is taken
            page.keyboard.press(str(key + 1))
            page.wait_for_selector("#said.alarm:has-text('The server does not answer')")
            page.keyboard.press("1")  # is not taken for another answer meanwhile
            server = place.serve(server.port)
            page.wait_for_selector("#work:not(.busy)")
        else:
            press(page, str(key + 1))
    found = answers.read(place.answers)
    assert {line.galaxy: line.answers for line in found.complete()} == said
    assert len(said) == 50
    lines = (place.answers / "anna.jsonl").read_text().splitlines()
    assert len(lines) == sum(map(len, said.values()))
    assert found.damaged == ()
    assert page.inner_text("#progress").startswith("anna: 50 labelled, 0 skipped; all together 50 of 60")
    assert page.wrong == []
