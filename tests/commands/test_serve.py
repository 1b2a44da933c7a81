"""The page that reads one galaxy, in a real browser and by hand."""

import json
import re
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from itertools import pairwise

import numpy as np
import pytest
import uvicorn

from pipeline.commands import embed, serve
from pipeline.commands.serve import galaxy_reader, words
from pipeline.commands.serve.galaxy_reader import VERSION, Reader
from pipeline.core import tree
from pipeline.core.labels import Question, Schema
from pipeline.errors import UserError
from pipeline.store.fractions import load_fractions
from tests.builders import competition_files as tiny
from tests.builders.galaxy_zoo_2 import GZ2


@pytest.fixture(scope="module")
def reader(survey) -> Reader:
    return Reader(survey.ensemble)


@pytest.fixture(scope="module")
def address(reader) -> str:
    """A server on loopback, as long as the tests of this file take."""
    server = uvicorn.Server(uvicorn.Config(serve.application(reader), port=0, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True


def post(address: str, data: bytes) -> tuple[int, dict]:
    try:
        with urllib.request.urlopen(f"{address}/read", data=data) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_answers_are_those_of_the_ensemble(survey, address):
    expected = load_fractions(survey.store.ensemble("final").files[1], GZ2)
    code, read = post(address, survey.images[survey.test_ids[3]])
    assert code == 200
    joint = {a["column"]: a["joint"] for question in read["questions"] for a in question["answers"]}
    np.testing.assert_allclose([joint[c] for c in GZ2.columns], expected.loc[survey.test_ids[3]], atol=1e-5)
    assert len(read["questions"]) == 11
    every = [a for question in read["questions"] for a in question["answers"]]
    assert all(0 <= a["low"] <= a["conditional"] <= a["high"] <= 1 for a in every)
    assert any(a["low"] < a["high"] for a in every)
    assert read["besides"] in (["nothing odd"], [f"something odd, {_leading(read, 'odd-feature')}"])
    assert len(read["cams"]) == 3
    assert all(cam["picture"].startswith("data:image/webp") for cam in read["cams"])


def _leading(read: dict, name: str) -> str:
    (question,) = (one for one in read["questions"] if one["name"] == name)
    return max(question["answers"], key=lambda answer: answer["joint"])["text"]


def galaxy(**shares: tuple[float, ...]) -> np.ndarray:
    """Joint fractions (37,) in which the questions named have these shares, and all others equal ones."""
    conditional = np.concatenate([np.full(len(q.columns), 1 / len(q.columns)) for q in GZ2.questions])
    for question, columns in zip(GZ2.questions, GZ2.slices, strict=True):
        if (name := question.name.replace("-", "_")) in shares:
            conditional[columns] = shares[name]
    return tree.to_joint(GZ2, conditional[None])[0]


def test_it_is_said_why_the_class_is_not_where_most_votes_lead():
    smooth = galaxy(smooth_or_featured=(0.55, 0.45, 0), disk_edge_on=(0, 1), has_spiral_arms=(0.9, 0.1))
    said = words.why_not_leading(GZ2, smooth)
    assert "“smooth” to “smooth or features” (55 % of all)" in said
    assert "“spiral arms” with 40 %" in said
    assert "are divided" in said
    spiral = galaxy(smooth_or_featured=(0.1, 0.9, 0), disk_edge_on=(0, 1), has_spiral_arms=(0.9, 0.1))
    assert words.why_not_leading(GZ2, spiral) == ""
    star = galaxy(smooth_or_featured=(0.3, 0.1, 0.6), how_rounded=(1, 0, 0))
    assert "more than the answers of the other classes get" in words.why_not_leading(GZ2, star)


def test_what_is_asked_besides_is_told_with_where_it_leads():
    assert words.besides(GZ2, galaxy(something_odd=(0.2, 0.8))) == ["nothing odd"]
    merger = galaxy(something_odd=(0.8, 0.2), odd_feature=(0, 0, 0, 0, 0, 1, 0))
    assert words.besides(GZ2, merger) == ["something odd, merger"]


def test_own_labels_of_one_question_have_nothing_besides():
    own = Schema("own", "class", (Question(1, "kind", "kind", ("a", "b"), ("a", "b"), ("x", "y"), ()),))
    assert words.besides(own, np.array([0.4, 0.6])) == []
    assert words.why_not_leading(own, np.array([0.4, 0.6])) == ""


def test_programs_are_told_version_fields_and_caveats(survey, address):
    with urllib.request.urlopen(f"{address}/read") as response:
        told = json.load(response)
    code, read = post(address, survey.images[survey.test_ids[0]])
    assert (code, set(read)) == (200, set(told["answer"]))
    for about in (told, read):
        assert (about["version"], about["ensemble"]) == (VERSION, "survey/ensembles/final")
        assert any("RANDOM weights" in sentence for sentence in about["caveats"])


def test_the_page_begins_with_the_caveats_of_the_ensemble(reader, address):
    with urllib.request.urlopen(address) as response:
        page = response.read().decode()
    assert 0 < page.index("RANDOM weights, not from pretrained ones: head, fine") < page.index("Drop an image here")


def test_the_galaxy_most_like_a_training_galaxy_is_itself(survey, address):
    galaxy = next(i for i in survey.images if i < 300_000)
    assert post(address, survey.images[galaxy])[1]["neighbours"][0]["id"] == galaxy


def test_galaxies_of_a_folder_of_features_are_searched_too(survey, tmp_path, monkeypatch):
    images = tiny.folder_of(tmp_path / "sky", {f"{i}.jpg": survey.images[i] for i in survey.test_ids})
    run = survey.store.trained("fine", 0).record_path.parents[1]
    embed.main([str(images), "--run", str(run), "--to", str(tmp_path / "features"), "--pca", "8"])
    wanted = survey.test_ids[3]
    for in_memory in (1 << 30, 0):
        monkeypatch.setattr(galaxy_reader, "IN_MEMORY", in_memory)
        reader = Reader(survey.ensemble, features=tmp_path / "features")
        assert reader.searched == str(tmp_path / "features")
        found = reader.read(survey.images[wanted])["similar"]
        assert [one["id"] for one in found[:1]] == [str(wanted)]
        assert found[0]["similarity"] == pytest.approx(1, abs=1e-3)
        assert len(found) == galaxy_reader.NEAREST
        assert all(a["similarity"] >= b["similarity"] for a, b in pairwise(found))
        assert found[0]["picture"].startswith("data:image/")
    with pytest.raises(UserError, match="makes a folder of features"):
        Reader(survey.ensemble, features=images)


def test_what_looks_unlike_the_galaxies_trained_on_has_a_caveat(survey, reader):
    folds = survey.store.load_folds()
    known = survey.images[folds.index[folds != 0][0]]  # the network that looks was trained on it
    assert reader.read(known)["caveat"] == ""
    y, x = np.mgrid[:424, :424]
    checks = (200 * ((x // 30 + y // 30) % 2)).astype(np.uint8)
    assert "looks unlike the galaxies trained on" in reader.read(tiny.jpeg(checks))["caveat"]


BAD = {
    "nothing": (b"", 415, "The file is no JPEG, PNG or FITS image."),
    "a text": (b"hello", 415, "The file is no JPEG, PNG or FITS image."),
    "half an image": (tiny.jpeg(tiny.galaxy(1))[:3000], 415, "cut short"),
    "too much": (b"\xff" * (serve.LARGEST + 1), 413, "larger than 16 MB"),
}


@pytest.mark.parametrize(("data", "code", "said"), BAD.values(), ids=BAD)
def test_what_is_no_image_is_refused_and_the_server_goes_on(survey, address, data, code, said):
    got, told = post(address, data)
    assert got == code
    assert said in told["detail"]
    assert post(address, survey.images[survey.test_ids[0]])[0] == 200


def upload(address: str, data: bytes, length: int) -> socket.socket:
    """A client that has sent the beginning of an image."""
    host, port = address.removeprefix("http://").split(":")
    made = socket.create_connection((host, int(port)))
    made.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length + data)
    return made


@pytest.fixture
def logged(capfd, caplog):
    """What the server has said by now."""
    caplog.set_level("WARNING")
    return lambda: time.sleep(0.3) or capfd.readouterr().err + caplog.text


def test_a_client_that_goes_away_is_nothing_to_talk_about(survey, address, logged):
    image = survey.images[survey.test_ids[0]]
    logged()
    upload(address, image[:1000], len(image)).close()  # in the middle of its upload
    upload(address, image, len(image)).close()  # before the answer
    cut = upload(address, image[:1000], len(image))
    cut.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    cut.close()  # by a reset
    upload(address, b"", 0).close()
    assert post(address, image)[0] == 200
    assert logged() == ""


def test_a_slow_client_holds_up_nobody_and_is_given_up_on(survey, address, logged, monkeypatch):
    monkeypatch.setattr(serve, "SECONDS", 0.5)
    image = survey.images[survey.test_ids[0]]
    logged()
    slow = [upload(address, image[:100], len(image)) for _ in range(50)]
    assert post(address, image)[0] == 200
    assert b" 408 " in slow[0].recv(100)
    for client in slow:
        client.close()
    assert logged() == ""


@pytest.mark.parametrize(("flags", "said"), [
    (["--port", "80000"], "from 0 to 65535"),
    (["--port", "-1"], "from 0 to 65535"),
    (["--host", "no.such.host.invalid"], "cannot listen on"),
    (["--host", "é" * 70], "cannot listen on"),
])  # fmt: skip
def test_where_it_cannot_listen_it_says_so_before_it_loads(flags, said):
    with pytest.raises(UserError, match=said):
        serve.main(["--ensemble", "nowhere", *flags])


def test_a_port_that_is_taken(address):
    with pytest.raises(UserError, match="Address already in use"):
        serve.main(["--ensemble", "nowhere", "--port", address.rpartition(":")[2]])


def test_in_a_browser(survey, address, tmp_path, browser):
    page = browser.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    (tmp_path / "galaxy.jpg").write_bytes(survey.images[survey.test_ids[0]])
    (tmp_path / "text.jpg").write_text("hello")
    page.goto(address)
    page.set_input_files("#file", tmp_path / "galaxy.jpg")
    page.wait_for_selector("#result:not([hidden])", timeout=60_000)
    assert page.inner_text("#label") in (
        "completely round smooth",
        "in-between smooth",
        "cigar-shaped smooth",
        "edge-on",
        "spiral",
    )
    shown = page.locator(".question").first.locator(".answer")
    assert shown.count() == 3
    assert "±" not in page.inner_text("#questions")
    assert re.search(r"\d+ % \(\d+ . \d+\)", page.inner_text("#questions"))
    assert page.locator("#cams img").count() == 3
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    assert wrong == []
    page.set_input_files("#file", tmp_path / "text.jpg")
    page.wait_for_selector("#said.alarm")
    assert page.inner_text("#said") == "The file is no JPEG, PNG or FITS image."
    assert page.is_hidden("#result")
    page.close()
