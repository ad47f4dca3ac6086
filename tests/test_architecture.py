"""Who may import whom, how long things may get, and what no library code may do.

The tables here are the definition of the architecture; everything is read from the source by `ast`, so
that an import inside a function counts like one at the top.
"""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "featx"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Stages from the bottom up: what of featx each may import besides itself.
FOUNDATION = {
    "archives",
    "checks",
    "child",
    "child_process",
    "digests",
    "directories",
    "documents",
    "errors",
    "files",
    "folders",
    "foreign_hdf5",
    "hdf5",
    "hdf5_process",
    "progress",
    "reading",
    "remote",
    "storage",
    "tables",
    "views",
}
STAGES = {
    "foundation": set(),
    "images": {"foundation"},
    "features": {"foundation", "images"},
    "heads": {"foundation"},
    "insight": {"foundation"},
    # Of heads, only how they split.
    "models": {"foundation", "images", "features", "heads"},
    "top": {"foundation", "images", "features", "heads", "insight", "models"},
}

# Third-party packages each stage may import; a module named here may import its own besides.
FRAMEWORKS = {
    "foundation": {"numpy", "h5py", "rich", "typing_extensions"},
    "images": {"numpy", "PIL"},
    "features": {"numpy", "h5py", "keras", "sklearn"},
    "heads": {"numpy", "scipy", "sklearn", "joblib", "skops", "threadpoolctl"},
    "insight": {"numpy", "scipy", "sklearn"},
    # scikit-learn for the types of fitted heads, FineTuner's own kind, and the baseline of raw pixels.
    "models": {"numpy", "keras", "sklearn"},
    "top": {"numpy", "sklearn", "typer", "rich", "keras"},
}
FRAMEWORKS_OF_MODULE = {
    # Its version stands beside every shard.
    "featx.features.engines": {"PIL"},
    # What each of Keras's backends compiles a model by is the backend's own.
    "featx.features.compiled": {"tensorflow", "jax", "torch"},
    # LiteRT and SavedModel are TensorFlow's formats. ONNX's and LiteRT's packages are optional: `require`.
    "featx.models.export": {"tensorflow"},
    "featx.models.runtimes": {"tensorflow"},
}

FRAMEWORKS_OF_PACKAGE = {
    # Nothing else knows of the cluster.
    "featx.distributed": {"ray", "joblib"},
}

MAX_MODULE_LINES = 400
MAX_FUNCTION_MEDIAN, MAX_FUNCTION_P90 = 12, 40
MAX_PARAMETERS = 8

# Signatures that are a contract, or a command's options.
MANY_PARAMETERS_ALLOWED = {
    "featx.features.recipe:ExtractionRecipe.__init__",
    "featx.heads.nested:nested_scores",
    "featx.heads.search:HeadSearch.__init__",
    "featx.search_jobs:search_features",
    "featx.classifier:ImageClassifier.__init__",
    "featx.insight.comparison:compare",
    "featx.insight.evaluation:evaluate",
    "featx.insight.report:write_report",
    "featx.insight.learning:learning_curve",
    "featx.models.finetuning:FineTuner.__init__",
    "featx.models.probe:fine_tune_probe",
    "featx.features.extraction:extract",
    "featx.cli.features:extract",
    "featx.cli.searching:search",
    "featx.cli.auditing:audit",
    "featx.cli.heads:evaluate",
    "featx.cli.comparing:compare",
    "featx.report_contents:report_samples",
    "featx.cli.heads:predict",
    "featx.cli.learning:curve",
    "featx.cli.models:finetune",
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def stage_of(name: str) -> str:
    parts = name.split(".")
    if len(parts) == 1:
        return "top"
    if parts[1] in FOUNDATION:
        return "foundation"
    return parts[1] if parts[1] in STAGES else "top"


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def imports_of(path: Path) -> set[str]:
    """Full names of everything a module imports, but for what it needs for its hints alone."""
    found = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # `from featx.heads import search` names a module of featx, not only its package.
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "featx"}
    return found


def functions_of(path: Path) -> list[tuple[str, ast.FunctionDef]]:
    def walk(node: ast.AST, prefix: str):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                yield from walk(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.FunctionDef):
                yield f"{prefix}{child.name}", child
                yield from walk(child, f"{prefix}{child.name}.")
            else:
                yield from walk(child, prefix)

    return list(walk(parse(path), ""))


def n_code_lines(function: ast.FunctionDef) -> int:
    """Lines of the body without the docstring, which has a budget of its own: the reader's patience."""
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


each_module = pytest.mark.parametrize("path", MODULES, ids=module_name)


@each_module
def test_stages_import_downward_only(path):
    name = module_name(path)
    stage = stage_of(name)
    for imported in imports_of(path):
        if imported.startswith("featx.") and imported != "featx.__version__":
            target = stage_of(imported)
            assert target == stage or target in STAGES[stage], (
                f"{name} ({stage}) imports {imported} ({target})"
            )


@each_module
def test_frameworks_stay_in_their_stages(path):
    name = module_name(path)
    allowed = FRAMEWORKS[stage_of(name)] | FRAMEWORKS_OF_MODULE.get(name, set())
    allowed |= FRAMEWORKS_OF_PACKAGE.get(".".join(name.split(".")[:2]), set())
    for imported in imports_of(path):
        package = imported.partition(".")[0]
        if package != "featx" and package not in sys.stdlib_module_names:
            assert package in allowed, f"{name} imports {imported}"


def test_images_and_heads_never_see_each_other_or_keras():
    for path in MODULES:
        stage = stage_of(module_name(path))
        if stage in ("images", "heads", "insight"):
            assert not {imported for imported in imports_of(path) if imported.startswith("keras")}


@pytest.mark.parametrize("module", ["featx", "featx.cli"])
def test_importing_loads_no_framework(module):
    script = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    frameworks = {"tensorflow", "keras", "sklearn", "h5py", "PIL", "numpy", "scipy", "joblib"}
    assert not frameworks & set(loaded.stdout.split())


@each_module
def test_a_module_is_read_in_a_sitting(path):
    assert len(path.read_text().splitlines()) <= MAX_MODULE_LINES


def test_functions_are_short():
    lengths = sorted(n_code_lines(function) for path in MODULES for _, function in functions_of(path))
    assert statistics.median(lengths) <= MAX_FUNCTION_MEDIAN
    assert lengths[int(len(lengths) * 0.9)] <= MAX_FUNCTION_P90


@each_module
def test_functions_take_few_parameters(path):
    for name, function in functions_of(path):
        arguments = function.args
        n_parameters = len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs)
        n_parameters -= bool(arguments.args) and arguments.args[0].arg in ("self", "cls")
        allowed = f"{module_name(path)}:{name}" in MANY_PARAMETERS_ALLOWED
        assert allowed or n_parameters <= MAX_PARAMETERS, f"{name} takes {n_parameters}"


@each_module
def test_the_library_neither_prints_nor_asserts_nor_swallows(path):
    for node in ast.walk(parse(path)):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: assert on what a user may pass"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}: print"
        if isinstance(node, ast.ExceptHandler):
            swallows = len(node.body) == 1 and isinstance(node.body[0], ast.Pass)
            assert not swallows, f"line {node.lineno}: except: pass"


def test_nothing_unpickles_but_the_guarded_reader():
    for path in MODULES:
        unpicklers = {"pickle", "joblib.load", "dill", "cloudpickle"} & imports_of(path)
        assert not unpicklers or module_name(path) == "featx.features.efficientnet_lite"


def test_the_top_level_holds_nothing_else():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    top = {line.partition("/")[0] for line in listed.stdout.splitlines()}
    fixed = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "featx", "scripts", "tests", "cache"}
    assert {name for name in top if not name.startswith(".")} <= fixed


def test_scripts_use_public_names_only():
    for path in (ROOT / "scripts").glob("*.py"):
        for imported in imports_of(path):
            package, _, rest = imported.partition(".")
            assert package != "featx" or "." not in rest, f"{path.name} imports {imported}"
