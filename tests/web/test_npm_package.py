"""runtime/web as a package of npm: what it holds, installed and asked in Node, and bundled for a browser by Vite."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from web_node import served

ROOT = Path(__file__).parents[2]
WEB = ROOT / "runtime" / "web"
PROGRAM = """
import { Classifier } from "pocketrnn";
const classifier = await Classifier.load("classifier.prnn");
const said = (await classifier.classify("Oil prices rise again")).label;
if (globalThis.document) document.getElementById("said").textContent = said; else console.log(said);
"""


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(wasm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the package was installed from what `npm pack` wrote, with a packed file and a program."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm is not installed")
    from packing_tools import packed_bundle

    folder = tmp_path_factory.mktemp("npm")
    (folder / "classifier.prnn").write_bytes(packed_bundle(ROOT / "trained/pocketrnn_zoo/ag_news-small/bundle"))
    (folder / "program.mjs").write_text(PROGRAM, encoding="utf-8")
    run(folder, "npm", "pack", str(WEB), "--ignore-scripts")
    (folder / "package.json").write_text('{"private": true, "type": "module"}', encoding="utf-8")
    (tarball,) = folder.glob("pocketrnn-*.tgz")
    run(folder, "npm", "install", "--offline", "--no-audit", "--no-fund", f"./{tarball.name}")
    return folder


# In the fast suite, test_native_engine.py asks the same files in Node, uninstalled.
@pytest.mark.slow
def test_the_package_is_installed_and_asked_in_node(project: Path) -> None:
    assert run(project, "node", "program.mjs").strip() == "Business"


def test_the_package_holds_the_engine_and_what_speaks_to_it_alone(project: Path) -> None:
    installed = project / "node_modules" / "pocketrnn"
    assert sorted(path.name for path in installed.iterdir()) == [
        "LICENSE", "README.md", "answers.js", "engine.js", "native.d.ts", "native.js", "numbers.d.ts", "numbers.js",
        "package.json", "pocketrnn-plain.wasm", "pocketrnn.wasm", "tags.js", "texts.js",
    ]  # fmt: skip
    manifest = json.loads((installed / "package.json").read_text(encoding="utf-8"))
    assert "dependencies" not in manifest
    for target in manifest["exports"].values():
        for file in target.values() if isinstance(target, dict) else [target]:
            assert (installed / file).is_file()


def test_every_class_of_the_module_has_its_type(project: Path) -> None:
    errors = {"BundleError", "InputError", "LimitError", "PocketRNNError"}
    for module, more in (("pocketrnn", {"load"}), ("pocketrnn/numbers", errors)):
        types = WEB / ("native.d.ts" if module == "pocketrnn" else "numbers.d.ts")
        typed = re.findall(r"^export (?:class|function) (\w+)", types.read_text("utf-8"), re.MULTILINE)
        (project / "classes.mjs").write_text(f'import * as all from "{module}"; console.log(Object.keys(all).join());')
        assert set(run(project, "node", "classes.mjs").strip().split(",")) == {*typed, *more}


@pytest.mark.slow
def test_vite_takes_the_engine_along(project: Path, web_modules: Path, chromium: str) -> None:
    if not (web_modules / "vite").is_dir():
        pytest.skip("vite is not installed; run: npm install --prefix .venv-web vite")
    (project / "index.html").write_text('<p id="said"></p><script type="module" src="/program.mjs"></script>', "utf-8")
    (project / "public").mkdir()
    shutil.copy(project / "classifier.prnn", project / "public")
    run(project, "node", str(web_modules / "vite" / "bin" / "vite.js"), "build")
    with served(project / "dist") as address:
        page = run(
            project, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000",
            "--dump-dom", address,
        )  # fmt: skip
    assert '<p id="said">Business</p>' in page
