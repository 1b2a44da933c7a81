"""Which package may import which, read from the source; and modules that fit on a few screens."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.store import dependencies

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted(ROOT.glob("pipeline/**/*.py"))
}
NETWORKS = {"keras", "keras_cv", "tensorflow", "jax", "torch"}
MAY_IMPORT = {  # package -> packages of ours that it may import besides itself; none stands before what it imports
    "errors": "",
    "core": "",
    "plans": "errors core",
    "sky": "core plans",
    "execution": "errors core",
    "store": "errors core plans execution",
    "program": "errors execution",
    "cli": "errors plans execution store program",
    "competition": "errors core plans execution store",
    "checkpoints": "errors plans",
    "nn": "errors core plans checkpoints",
    "models": "errors core plans execution store checkpoints nn",
    "catalogue": "errors core plans execution store competition models",
    "labelled": "errors core plans store competition catalogue",
    "tuning": "errors core plans execution store competition nn models",
    "report": "errors core plans store competition labelled",
    "web": "errors report",
    "stages": "errors core sky plans execution store cli competition nn models labelled report",
    "commands": "errors core sky plans execution store program cli competition nn models catalogue labelled tuning "
    "report web stages",
    "__main__": "program",
}
THIRD_PARTY = {  # packages that keep to a few libraries
    "errors": set(),
    "core": {"numpy", "scipy"},
    "plans": {"pydantic"},
    "execution": {"ray"},
    "checkpoints": {"numpy", "safetensors"},
    "__main__": set(),
}
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


def every(name: str) -> set[str]:
    return IMPORTS[name].top | IMPORTS[name].inside


def package_of(module: str) -> str:
    """'pipeline.store.records' -> 'store'; 'pipeline' itself -> ''."""
    return module.split(".")[1] if "." in module else ""


def outside(names: set[str]) -> set[str]:
    """The third-party packages among imported modules."""
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"pipeline"}


def test_the_walk_sees_imports():
    assert "pipeline.core.tree" in every("pipeline.core.metrics")
    assert "keras" in IMPORTS["pipeline.nn.fit"].top
    assert "pipeline.nn.fit" in IMPORTS["pipeline.stages.train"].inside


def test_every_package_stands_in_the_table_and_none_before_what_it_imports():
    packages = {package_of(name) for name in MODULES} - {"__init__"}
    assert packages == set(MAY_IMPORT)
    order = list(MAY_IMPORT)
    assert all(
        order.index(other) < order.index(name) for name, others in MAY_IMPORT.items() for other in others.split()
    )


@pytest.mark.parametrize("name", MODULES)
def test_modules_import_only_the_packages_that_theirs_may(name):
    package = package_of(name)
    used = {package_of(imported) for imported in every(name) if imported.split(".")[0] == "pipeline"} - {""}
    assert used <= {package, *MAY_IMPORT.get(package, "").split()}


@pytest.mark.parametrize("name", [name for name in MODULES if package_of(name) in THIRD_PARTY])
def test_some_packages_keep_to_a_few_libraries(name):
    assert outside(every(name)) <= THIRD_PARTY[package_of(name)]


@pytest.mark.parametrize("name", MODULES)
def test_keras_is_imported_under_nn_only_and_nn_where_it_is_needed_only(name):
    inside_nn = package_of(name) == "nn"
    assert inside_nn or not outside(every(name)) & NETWORKS
    assert inside_nn or not {imported for imported in IMPORTS[name].top if imported.startswith("pipeline.nn")}
    backends = outside(IMPORTS[name].top) & {"tensorflow", "jax", "torch", "keras_cv"}
    assert backends <= ({"tensorflow"} if name == "pipeline.nn.runtime" else set())  # where that backend is chosen


def siblings(package: str) -> list[str]:
    return [name for name in MODULES if package_of(name) == package and name.split(".")[2] != "__init__"]


@pytest.mark.parametrize("name", [*siblings("stages"), *siblings("commands")])
def test_no_stage_imports_a_stage_and_no_command_a_command(name):
    own = name.split(".")[2]
    others = {
        imported.split(".")[2] for imported in every(name) if imported.startswith(f"pipeline.{package_of(name)}.")
    }
    assert others <= {own}


def test_the_folder_of_stages_is_the_run():
    assert {name.split(".")[2] for name in siblings("stages")} == set(dependencies.STAGES)


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_short(name):
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) < LONGEST


@pytest.mark.parametrize("name", [name for name in MODULES if MODULES[name].stat().st_size])
def test_modules_say_what_they_are(name):
    assert ast.get_docstring(ast.parse(MODULES[name].read_text(encoding="utf-8")))


def test_stages_that_need_no_network_load_none():
    stages = sorted(siblings("stages"))
    code = f"import sys, {', '.join(stages)}\nprint(sorted({NETWORKS | {'sklearn', 'matplotlib'}} & set(sys.modules)))"
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert made.stdout == "[]\n"


def test_the_command_line_itself_needs_no_package():
    code = "import sys, pipeline.__main__ as cli\ncli.overview()\nassert not {'pandas', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
