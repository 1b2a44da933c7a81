"""What a plan costs: the arithmetic by hand, the table, and a probe of a real network."""

import functools

import pytest

from pipeline.commands import estimate
from pipeline.nn import network, run_speeds, small_probe, speed_probe
from pipeline.nn.fit import SCORED_EPOCHS
from pipeline.store.artifacts import Store
from tests.builders import fabricated, stage_outputs
from tests.builders.galaxy_zoo_2 import GZ2

SPEEDS = speed_probe.Speeds(start=5, train=100, forward=200, head=3, params=1_000_000, features=50)


def edited(folder, *edits):
    return fabricated.plan(folder, *edits)


def test_a_head_on_frozen_features(tmp_path):
    run = edited(tmp_path).run("a")  # 8 views, head only
    cost = estimate.cost_of_run(run, SPEEDS, n=1000, m=100, folds=2, answers=37)
    assert cost.seconds == pytest.approx(3 * 5 + 5 + 2 * 3 + 1000 * 8 / 200 + 100 * 8 / 200)
    assert cost.checkpoint == 0
    assert cost.disk == 2 * 4_000_000 + 4 * 1000 * 50 + 4 * 37 * (1000 + 2 * 100)


def test_fine_tuning(tmp_path):
    run = edited(tmp_path).run("b")  # two epochs, both scored, 8 views
    cost = estimate.cost_of_run(run, SPEEDS, n=1000, m=100, folds=2, answers=37)
    predicted = (1000 + 2 * 100) * 8 / 200
    assert cost.seconds == pytest.approx(3 * 5 + 5 + 2 * 3 + 2 * 2 * 500 / 100 + 2 * 1000 / 200 + predicted)
    assert cost.disk == 2 * 4_000_000 + 4 * 37 * (1000 + 2 * 100)
    assert cost.checkpoint == 4 * 4_000_000


def test_only_early_stopping_scores_every_epoch(tmp_path):
    run = edited(tmp_path, ("fine_tune = { epochs = 2 }", "fine_tune = { epochs = 40 }")).run("b")
    patient = edited(tmp_path, ("fine_tune = { epochs = 2 }", "fine_tune = { epochs = 40, patience = 5 }")).run("b")
    took = [estimate.cost_of_run(one, SPEEDS, n=1000, m=100, folds=2, answers=37).seconds for one in (run, patient)]
    assert took[1] - took[0] == pytest.approx((40 - SCORED_EPOCHS) * 1000 / 200)


def test_without_estimate_the_runs_are_told_and_nothing_is_timed(tmp_path, capsys):
    path = fabricated.write_plan(tmp_path)
    estimate.main(["--plan", str(path), "--output", str(tmp_path)])
    first, a, b, *ensembles = capsys.readouterr().out.splitlines()
    assert first == "mine: 24 training and 6 test galaxies, 2 folds"
    assert [line.split()[:2] for line in (a, b)] == [["a", "vgg16"], ["b", "mobilenetv2"]]
    assert [line.split(" of ")[1] for line in ensembles] == ["a, b", "a"]


def test_a_plan_without_a_sky_is_as_large_as_the_competition_until_files_are_known(tmp_path):
    plan, store = edited(tmp_path, ("sky = { train = 24, test = 6 }", "")), Store(tmp_path / "out")
    assert estimate.galaxy_counts(plan, store) == (61_578, 79_975)
    stage_outputs.inputs(store, stage_outputs.votes(12), stage_outputs.sample(5))
    assert estimate.galaxy_counts(plan, store) == (12, 5)


def test_every_speed_of_a_real_network_is_measured(tmp_path):
    run = edited(tmp_path, ("head_phase = { epochs = 1 }\n[[runs]]", "fine_tune = { epochs = 1 }\n[[runs]]")).run("b")
    both = run.model_copy(update={"head_phase": edited(tmp_path).run("a").head_phase})
    made = speed_probe.measure(both, GZ2, stored=32, size=32, n_train=100)
    assert min(made.start, made.train, made.forward, made.head) > 0
    assert made.train < made.forward
    backbone = (
        2_257_984 - 4 * 17_056 + 17_056
    )  # its 17,056 normalised channels have a bias each in place of four numbers
    assert (made.params, made.features) == (backbone + 1280 * 37 + 37 + 2 * 1280, 1280)


SMALL = small_probe.Probe(
    per_pixel=1e-6, activations=400.0, build=2.0, compile=4.0, layers=100, levels=(small_probe.Level(1 / 32, 5000, 10),)
)


@pytest.fixture
def prober(tmp_path, monkeypatch):
    """A prober of the plan's two runs whose small images were timed, and whose clock stands still."""
    monkeypatch.setattr(run_speeds.time, "monotonic", lambda: 0.0)
    monkeypatch.setattr(small_probe, "measure", lambda backbone: SMALL)
    made = run_speeds.Prober(edited(tmp_path), GZ2, 1000)
    for run in made.plan.runs:
        made.look(run)
    return made


def test_where_no_time_is_left_a_run_is_scaled_from_small_images(prober, monkeypatch):
    prober.budget = 0.0
    monkeypatch.setattr(speed_probe, "measure", None)
    head, tuned = (prober.speeds(run) for run in prober.plan.runs)  # of 64 and 32 pixels
    assert head[1] == tuned[1] == run_speeds.SCALED
    assert head[0].forward == pytest.approx(1e6 / 64**2)
    assert tuned[0].forward == pytest.approx(1e6 / 32**2)
    assert tuned[0].train == pytest.approx(tuned[0].forward / run_speeds.STEP_COST)
    assert head[0].train == float("inf")
    assert head[0].head == pytest.approx(3 * 37 * 10 * 1 * 500 / run_speeds.HEAD_SPEED)
    assert head[0].start == pytest.approx(2 + 100 * run_speeds.START_PER_LAYER)
    assert head[0].params == 5000 + 370


def test_on_a_gpu_compiling_counts_and_one_network_is_measured_whatever_it_takes(prober, monkeypatch):
    monkeypatch.setattr(run_speeds.runtime, "gpus", lambda: 1)
    prober.budget = 0.0
    head, tuned = prober.plan.runs
    monkeypatch.setattr(speed_probe, "measure", lambda *args, **kwargs: SPEEDS)
    assert prober.speeds(tuned) == (SPEEDS, run_speeds.MEASURED)
    scaled, uncertainty = prober.speeds(head)
    assert uncertainty == run_speeds.SCALED
    assert scaled.start == pytest.approx(2 + 100 * run_speeds.START_PER_LAYER + run_speeds.COMPILED * 4)


def test_a_small_probe_gives_a_gpu_more_images_in_half_precision(monkeypatch):
    seen = []
    monkeypatch.setattr(small_probe.runtime, "gpus", lambda: 1)
    monkeypatch.setattr(small_probe.runtime, "choose_precision", lambda wanted: ("mixed_bfloat16", wanted))
    monkeypatch.setattr(
        small_probe, "_calls", lambda model, batch: seen.append((batch, model.layers[1].compute_dtype)) or (3.0, 0.5)
    )
    try:
        made = small_probe.measure("mobilenetv3small")
    finally:
        small_probe.keras.config.set_dtype_policy("float32")
    assert seen == [(small_probe.GPU_BATCH, "bfloat16")]
    assert (made.compile, made.per_pixel) == (3.0, 0.5 / small_probe.SIDE**2)


def test_what_was_measured_corrects_what_is_scaled(prober, monkeypatch):
    head, tuned = prober.plan.runs
    measured = SPEEDS._replace(forward=3e6 / 32**2, train=1e6 / 32**2)  # thrice as fast as small images say
    monkeypatch.setattr(speed_probe, "measure", lambda *args, **kwargs: measured)
    assert prober.speeds(tuned) == (measured, run_speeds.MEASURED)
    prober.budget = 0.0
    scaled, _ = prober.speeds(head.model_copy(update={"fine_tune": tuned.fine_tune}))
    assert scaled.forward == pytest.approx(3e6 / 64**2)
    assert scaled.train == pytest.approx(1e6 / 64**2)


def test_the_estimate_is_a_table_with_its_uncertainty(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(estimate, "cost_of_other_stages", lambda *args: estimate.Cost(3600, 2e9, 0))
    monkeypatch.setattr(small_probe, "measure", lambda backbone: SMALL)
    monkeypatch.setattr(run_speeds, "BUDGET", 0.0)
    text = ('name = "b"', 'name = "a-run-of-a-long-name-that-pushes-the-columns-to-the-right"')
    path = fabricated.write_plan(tmp_path, text, ('["a", "b"]', '["a"]'))
    estimate.main(["--plan", str(path), "--output", str(tmp_path), "--estimate", "--price", "2"])
    _, head, *rows, whole, span = capsys.readouterr().out.splitlines()
    assert head.split() == ["time", "disk", "price"]
    assert rows[0].split("baselines")[1].split() == ["1", "h", "00", "min", "±", "20", "%", "2.00", "GB", "2.00"]
    assert {line.index("±") for line in (*rows, whole)} == {rows[0].index("±")}
    assert all("± 40 %" in row for row in rows[1:])
    assert whole.startswith("  in all ")
    assert span.startswith("  that is 48 min ")
    assert " to 1 h 13 min; up to " in span


def test_memory_is_that_of_a_batch_s_activations_where_the_backbone_learns(prober):
    head, tuned = prober.plan.runs
    assert prober.activations(tuned) == 400 * 32**2
    step = estimate.memory_of_a_step(tuned, 1000.0)
    assert step == 4 * tuned.batch_size * 1000 * estimate.COPIES
    assert estimate.memory_of_a_step(head, 1000.0) == 4 * head.batch_size * 1000 * estimate.FREED


@pytest.mark.parametrize("name", ["vgg16", "mobilenetv3small", "efficientnetlite0"])
@pytest.mark.parametrize(("pooling", "size"), [("avg", 32), ("multi", 32), ("multi", 96), ("multi", 128)])
def test_parameters_and_features_are_those_of_the_network_that_pooling_leaves(tmp_path, probed, name, pooling, size):
    run = edited(tmp_path).run("a").model_copy(update={"backbone": name, "pooling": pooling, "first_weights": "random"})
    built = network.build(run, GZ2, stored=size, size=size, seed=0)
    assert probed(name).kept(pooling, size) == (built.features.count_params(), built.features.output_shape[-1])


@pytest.fixture(scope="module")
def probed():
    return functools.cache(small_probe.measure)


def test_a_small_probe_of_a_real_backbone():
    made = small_probe.measure("mobilenetv3small")
    assert 1e-9 < made.per_pixel < 1e-3
    assert 50 < made.activations < 500
    assert made.kept("avg", 96) == (920_952, 576)  # without what folds into the convolutions
    assert made.layers > 100
