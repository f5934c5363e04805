"""Who may import whom, seen in a fresh interpreter."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
_IMPORT_ALL = """
import importlib, pkgutil, sys
before = set(sys.modules)
package = importlib.import_module({package!r})
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.startswith("enrich.spark"):
        importlib.import_module(module.name)
print("\\n".join(sorted(set(sys.modules) - before)))
"""


def _imported_by(package):
    """Returns every module that a fresh interpreter loads for all of a package."""
    return _printed_by(_IMPORT_ALL.format(package=package))


def _printed_by(code):
    """Returns the words that a fresh interpreter prints when it runs the code."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def _top_level(modules):
    return {module.partition(".")[0] for module in modules}


def test_the_engine_runs_without_spark_and_its_companions():
    imported = _imported_by("enrich")
    assert {"enrich.engine.engine", "enrich.training.run"} <= imported
    banned = {"pyspark", "delta", "great_expectations", "airflow"}
    assert not banned & _top_level(imported)
    assert "open_clip" not in imported, "only the classifier coca may ask for it"


def test_schemas_import_nothing_beyond_the_standard_library():
    imported = _imported_by("schemas")
    assert {"schemas.labels", "schemas.tables"} <= imported
    assert _top_level(imported) - {"schemas"} <= sys.stdlib_module_names


def test_expectations_import_no_torch():
    imported = _imported_by("expectations")
    assert "expectations.suite" in imported
    assert not {"torch", "airflow"} & _top_level(imported)


def _name_imports(*packages):
    """Returns the modules that the files of packages name in imports, by file."""
    found = {}
    for file in [one for name in packages for one in (ROOT / name).rglob("*.py")]:
        nodes = [*ast.walk(ast.parse(file.read_text()))]
        names = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
        names |= {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}
        found[file] = names
    assert found
    return found


def test_enrich_imports_neither_great_expectations_nor_the_jobs():
    for file, names in _name_imports("enrich").items():
        assert not {"great_expectations", "airflow", "jobs"} & _top_level(names), file


def test_what_a_wheel_holds_imports_nothing_that_it_lacks():
    packages = ("enrich", "expectations", "schemas", "demo", "jobs")
    for file, names in _name_imports(*packages).items():
        assert not {"bench", "tests"} & _top_level(names), file


_OURS = ("enrich.", "expectations.", "schemas.")


def test_no_package_imports_one_that_imports_it():
    imports: dict[str, set[str]] = {}
    packages = ("enrich", "schemas", "expectations")
    for file in [file for package in packages for file in (ROOT / package).rglob("*.py")]:
        package = _package_of(".".join(file.relative_to(ROOT).with_suffix("").parts))
        nodes = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.ImportFrom)]
        # A name may be a module: from enrich.report import formatting.
        names = [f"{n.module}.{alias.name}" for n in nodes for alias in n.names]
        ours = {_package_of(name) for name in names if name.startswith(_OURS)}
        imports.setdefault(package, set()).update(ours - {package, "enrich.__init__"})
    assert imports["enrich.spark"] > {"enrich.engine", "expectations", "schemas"}
    assert list(TopologicalSorter(imports).static_order()), "a CycleError names the packages"


def _package_of(module):
    """Return the folder of a module, or the module itself where it lies in enrich."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "enrich" else parts[0]


def test_driver_starts_with_what_an_ordinary_run_uses():
    job = ROOT / "jobs" / "enrich_catalog.py"
    loaded = _printed_by(f"import sys, runpy; runpy.run_path({str(job)!r}); print(*sys.modules)")
    assert "enrich.spark.refresh" in loaded
    assert not {"torch", "great_expectations", "scipy", "demo", "enrich.spark.report"} & loaded
    ours = {"enrich", "expectations", "schemas", "jobs"}
    assert sum(module.partition(".")[0] in ours for module in loaded) <= 64


def test_a_worker_with_small_towers_waits_for_no_library_of_models(tmp_path):
    Image.new("RGB", (90, 90), "red").save(tmp_path / "red.jpg")
    classify = (
        "import sys, torch; from enrich.classifiers.manifest import BUNDLED, read_manifest;"
        "from enrich.config import JobConfig; from enrich.engine.spec import build_spec;"
        "from enrich.records import Product;"
        f"spec = build_spec(JobConfig(), read_manifest(BUNDLED), {str(tmp_path)!r});"
        "products = [Product('1', 'a red shirt', image_path='red.jpg')];"
        "(answer,) = spec.build(torch.device('cpu')).enrich(products);"
        "print(answer.status, *sys.modules)"
    )
    loaded = _printed_by(classify)
    assert {"ok", "enrich.engine.engine", "torch"} <= loaded
    assert not {"transformers", "timm", "torchvision", "open_clip"} & loaded
