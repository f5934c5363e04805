"""Replay of an image's RUN and COPY steps in an empty folder, where there is no Docker.

    python tests/support/replay_image.py FOLDER

The image's own folders (/build, /opt, /var/lib/enrich) stand below the folder instead: paths in
steps are rewritten. Debian's packages are resolved and not installed; Java is this machine's, and
the base image's Python is a virtual environment of this one. Stages that the default build does
not use (PyTorch's builds without CUDA, which come from an index of PyTorch's own) are not replayed.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "image" / "Dockerfile"
_OWN = re.compile(r"(?<![\w./}-])(/build|/opt|/var/lib/enrich)(?=[/\s\"':]|$)")
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass
class Stage:
    """A stage of a Dockerfile: what it starts from, and its steps."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)


def read_stages(dockerfile: Path) -> tuple[list[Stage], dict[str, str]]:
    """Return the stages, and the arguments that stand before the first one."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    given: dict[str, str] = {}
    stages: list[Stage] = []
    for line in filter(None, text.replace("\\\n", " ").splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(_fill(base, given), name))
        elif not stages:
            name, _, value = rest.partition("=")
            given[name] = value
        else:
            stages[-1].steps.append((word, rest.strip()))
    return stages, given


def needed_stages(stages: list[Stage]) -> list[Stage]:
    """Return the stages that the last one rests on, in their order."""
    named, wanted = {stage.name: stage for stage in stages}, [stages[-1]]
    for stage in wanted:
        copied = [word for _, step in stage.steps for word in re.findall(r"--from=(\S+)", step)]
        wanted += [named[name] for name in (stage.base, *copied) if name in named]
    return [stage for stage in stages if stage in wanted]


class Image:
    """An image in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.python = self.folder / "usr" / "local"
        self.env: dict[str, str] = {}
        self.workdir = self.folder

    def build(self) -> None:
        """Replay all steps.

        Raises:
            CalledProcessError: A step failed.
        """
        subprocess.run([sys.executable, "-m", "venv", self.python], check=True)
        for stage in needed_stages(read_stages(DOCKERFILE)[0]):
            self.env = {"PATH": f"{self.python / 'bin'}:{os.environ['PATH']}"}
            self.workdir = self.folder
            for word, step in stage.steps:
                print(f"[{stage.name or 'image'}] {word} {step}", flush=True)
                self._replay(word, step)

    def run(self, command: str) -> str:
        """Run a command as in the image, and return what it prints.

        Raises:
            CalledProcessError: It failed.
        """
        kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        done = subprocess.run(
            ["bash", "-euc", self._placed(command)],
            env=kept | self.env,
            cwd=self.workdir,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout

    def _replay(self, word: str, step: str) -> None:
        if word in ("ENV", "ARG"):
            name, _, value = step.partition("=")
            value = _fill(value.strip('"'), self.env)
            self.env[name] = value if name == "JAVA_HOME" else self._placed(value)
            if name == "JAVA_HOME":
                self.env[name] = _java_home()
        elif word == "WORKDIR":
            self.workdir = Path(self._placed(step))
            self.workdir.mkdir(parents=True, exist_ok=True)
        elif word == "COPY" and "--from=" not in step:
            *sources, target = _fill(step, self.env).split()
            for source in sources:
                self._copy(ROOT / source, Path(self._placed(target)), target.endswith("/"))
        elif word == "RUN":
            # No package of Debian's is installed on this machine: it is enough that there is one.
            step = step.replace("apt-get update", "true")
            step = step.replace("apt-get install", "apt-get install --simulate")
            step = step.replace("rm -rf /var/lib/apt/lists/*", "true")
            # Nor does this machine get a user.
            step = re.sub(r"^useradd ", "true ", step)
            self.run(_fill(step, self.env))

    def _copy(self, source: Path, target: Path, into: bool) -> None:
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)
            return
        target = target / source.name if into else target
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)

    def _placed(self, text: str) -> str:
        return _OWN.sub(lambda found: f"{self.folder}{found[1]}", text)


# What the network of this machine needs, and uv's cache.
_PASSED_ON = ("HOME", "UV_DEFAULT_INDEX", "PIP_INDEX_URL", "UV_CACHE_DIR", "SPARK_SUBMIT_OPTS")
_PASSED_ON += ("DEFAULT_ARTIFACT_REPOSITORY", "SSL_CERT_FILE", "HTTPS_PROXY", "HTTP_PROXY")


def _fill(text: str, values: dict[str, str]) -> str:
    """Return a text with the variables that are known filled in."""
    return _VARIABLE.sub(lambda found: values.get(found[1], found[0]), text)


def _java_home() -> str:
    if given := os.environ.get("JAVA_HOME"):
        return given
    java = shutil.which("java")
    assert java, "Java is missing"
    return str(Path(java).resolve().parents[1])


if __name__ == "__main__":
    image = Image(Path(sys.argv[1]))
    image.build()
    print(image.run("catalog-enrich check"))
