"""What tests of several packages share: one Spark session, and the real sample where it is."""

import gc
import logging
import os
import sys
from pathlib import Path

import pytest
from own_metastore import derby
from prepared_shop import PreparedShop, empty, forget_tables, published
from pyspark.sql import SparkSession
from shop import Shop, products

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT.parent / "shared" / "catalog" / "sample"

# Matrix units add up bfloat16 in another order than vector units, which moves confidences of the
# golden set by up to 0.012. In tests every CPU gives the same answers. Read when torch first
# computes.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")


# With one GPU, two processes of torchrun would find too few, and CUDA's sums are of no fixed order.
os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """A small local session with Delta and a metastore of its own, never the user's."""
    # Workers start from PATH's python3 otherwise, which need not be this environment's.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    warehouse = tmp_path_factory.mktemp("warehouse")
    session = (
        SparkSession.builder.master("local[2]")
        .appName("tests")
        .config("spark.sql.warehouse.dir", str(warehouse))
        .config(map=derby("memory:tests"))
        # A job has a Java of its own; here one lives through hundreds of runs.
        .config("spark.driver.memory", "2g")
        # For the same reason Java compiles what it runs often as well as it can.
        # G1 spends an eighth of the processor time on clearing up, this one a thirtieth.
        .config(
            "spark.driver.extraJavaOptions",
            "-XX:TieredStopAtLevel=4 -XX:+UseParallelGC -XX:ParallelGCThreads=1",
        )
        .config("spark.sql.ui.retainedExecutions", "10")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.databricks.delta.snapshotPartitions", "1")
        # Every query here is over a few rows: compiling it takes longer than running it.
        .config("spark.sql.codegen.wholeStage", "false")
        .config("spark.sql.codegen.factoryMode", "NO_CODEGEN")
        .config("spark.sql.adaptive.enabled", "false")
        .config("spark.python.sql.dataFrameDebugging.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .enableHiveSupport()
        .getOrCreate()
    )
    # What is there for good is not looked at when garbage is collected.
    gc.freeze()
    yield session
    session.stop()


@pytest.fixture(scope="session")
def prepared(spark, tmp_path_factory):
    """What the fixtures of shops put back before each test."""
    return PreparedShop(spark, tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def open_shop(prepared):
    """Return a function that opens the shop as a start leaves it, which runs once."""
    yield prepared.open
    prepared.close()


@pytest.fixture
def shop(open_shop):
    """Six products, and tables without a row."""
    return open_shop(empty)


@pytest.fixture
def published_shop(open_shop):
    """Six published products."""
    return open_shop(published)


@pytest.fixture
def bare_shop(spark, tmp_path, request):
    """Six products, and no database yet."""
    database = f"db_{abs(hash(request.node.name))}"
    shop = Shop(spark, tmp_path, database)
    shop.write(products())
    yield shop
    # What is kept of tables that are gone would be looked at when anything else is forgotten.
    spark.catalog.clearCache()
    spark.sql(f"DROP DATABASE IF EXISTS {database} CASCADE")
    forget_tables(spark)


@pytest.fixture(autouse=True)
def _logging_as_before():
    """Undo what a command does to logging: its standard error ends with the test."""
    root, package = logging.getLogger(), logging.getLogger("enrich")
    handlers, level = root.handlers[:], package.level
    yield
    root.handlers[:] = handlers
    package.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture(scope="session")
def sample():
    """The folder of 500 real products."""
    if not (SAMPLE / "products.parquet").exists():
        pytest.skip(f"REAL PRODUCTS ABSENT: {SAMPLE} is not there, so this claim is NOT tested")
    return SAMPLE


@pytest.fixture
def own_threads():
    """Puts torch's number of threads back as it was."""
    import torch  # takes seconds, which the tests without it are spared

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
