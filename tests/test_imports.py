"""Who may import whom, read from the source; and modules that fit on a few screens."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import units

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted(ROOT.glob("pipeline/**/*.py"))
}
STAGES = {f"pipeline.{stage}" for stage in (*units.STAGES, "status")}
NETWORKS = {"keras", "keras_cv", "tensorflow", "jax", "torch"}
USERS_OF_NETWORKS = ("train", "features", "predictor", "insight", "estimate", "export", "reading", "tuning.judge")
EXPORT = {"tf2onnx", "onnxruntime"}
STDLIB = set(sys.stdlib_module_names)
LONGEST = 300  # lines


class Imports(ast.NodeVisitor):
    """The modules that a module imports: at its top, and inside functions. What only type checkers see is left out."""

    def __init__(self, path: Path):
        self.top: set[str] = set()
        self.inside: set[str] = set()
        self._depth = 0
        self.visit(ast.parse(path.read_text(encoding="utf-8")))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1

    def visit_If(self, node: ast.If) -> None:
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self._add(alias.name for alias in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.level == 0, "imports are absolute"
        whole = (f"{node.module}.{alias.name}" for alias in node.names)
        self._add(name if name in MODULES or f"{name}.__init__" in MODULES else node.module for name in whole)

    def _add(self, names) -> None:
        (self.inside if self._depth else self.top).update(names)


IMPORTS = {name: Imports(path) for name, path in MODULES.items()}


def outside(names: set[str]) -> set[str]:
    """The third-party packages among imported modules."""
    return {name.split(".")[0] for name in names} - STDLIB - {"pipeline"}


def own(names: set[str]) -> set[str]:
    """Our own modules among imported modules."""
    return {name for name in names if name.split(".")[0] == "pipeline"}


def every(name: str) -> set[str]:
    return IMPORTS[name].top | IMPORTS[name].inside


def within(package: str) -> list[str]:
    return [name for name in MODULES if name.startswith(f"pipeline.{package}.")]


def test_the_walk_sees_imports():
    assert "pipeline.core.tree" in every("pipeline.artifacts")
    assert "keras" in IMPORTS["pipeline.nn.fit"].top
    assert "tensorflow" in IMPORTS["pipeline.nn.augment"].inside
    assert "pipeline.nn.fit" in IMPORTS["pipeline.train"].inside


@pytest.mark.parametrize("name", within("core"))
def test_core_imports_numpy_and_scipy_only(name):
    assert outside(every(name)) <= {"numpy", "scipy"}
    assert all(imported.startswith("pipeline.core") for imported in own(every(name)))


def test_config_imports_pydantic_only():
    assert outside(every("pipeline.config")) == {"pydantic"}
    assert own(every("pipeline.config")) <= {f"pipeline.{name}" for name in ("backbones", "errors", "space", "strict")}


@pytest.mark.parametrize("name", ["pipeline.backbones", "pipeline.errors"])
def test_tables_and_errors_import_nothing(name):
    assert every(name) <= {"typing"}


@pytest.mark.parametrize("name", within("nn"))
def test_networks_import_keras_and_know_no_file_of_the_store(name):
    imports = IMPORTS[name]
    assert outside(every(name)) <= {
        "keras",
        "numpy",
        "sklearn",
        "tqdm",
        "tensorflow",
        "jax",
        "torch",
        "keras_cv",
        *EXPORT,
    }
    allowed = ("pipeline.core", "pipeline.nn", "pipeline.config", "pipeline.backbones", "pipeline.errors")
    allowed = (*allowed, "pipeline.checkpoints")
    if name in ("pipeline.nn.whole", "pipeline.nn.exporting"):
        allowed = (*allowed, "pipeline.cutout")  # an exported network crops its images itself
    assert all(imported.startswith(allowed) for imported in own(every(name)))
    backends = outside(imports.top) & {"tensorflow", "jax", "torch", "keras_cv"}
    assert backends <= ({"tensorflow"} if name == "pipeline.nn.runtime" else set())  # where that backend is chosen


@pytest.mark.parametrize("name", within("checkpoints"))
def test_checkpoints_know_neither_store_nor_networks_nor_torch(name):
    assert outside(every(name)) <= {"numpy", "safetensors"}
    assert all(
        i.startswith(("pipeline.checkpoints", "pipeline.errors", "pipeline.backbones")) for i in own(every(name))
    )


@pytest.mark.parametrize("name", within("sky"))
def test_the_sky_knows_neither_store_nor_networks(name):
    assert all(imported.startswith(("pipeline.core", "pipeline.sky")) for imported in own(every(name)))
    assert not outside(every(name)) & (NETWORKS | {"pandas"})


@pytest.mark.parametrize("name", sorted(STAGES))
def test_no_stage_imports_a_stage(name):
    assert not every(name) & STAGES


@pytest.mark.parametrize("name", sorted(set(MODULES) - STAGES - {"pipeline.estimate"}))  # that one times stages
def test_no_other_module_imports_a_stage(name):
    assert not every(name) & STAGES


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith("pipeline.nn")])
def test_networks_are_imported_by_training_prediction_and_their_estimate_only(name):
    assert not outside(every(name)) & NETWORKS
    networks = {imported for imported in own(every(name)) if imported.startswith("pipeline.nn")}
    assert not networks or name.removeprefix("pipeline.") in USERS_OF_NETWORKS
    assert not {imported for imported in own(IMPORTS[name].top) if imported.startswith("pipeline.nn")}


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_short(name):
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) < LONGEST


@pytest.mark.parametrize("name", [name for name in MODULES if MODULES[name].stat().st_size])
def test_modules_say_what_they_are(name):
    assert ast.get_docstring(ast.parse(MODULES[name].read_text(encoding="utf-8")))


def test_stages_that_need_no_network_load_none():
    stages = sorted(STAGES)
    code = f"import sys, {', '.join(stages)}\nprint(sorted({NETWORKS | {'sklearn', 'matplotlib'}} & set(sys.modules)))"
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert made.stdout == "[]\n"
