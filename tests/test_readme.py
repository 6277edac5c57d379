"""What README, docs/ and the cards say is what was measured, and what they tell to type is there."""

import itertools
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from xfv_demo import EXPLAINERS

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
CONFIDENCE, METHODS = DOCS / "confidence.md", DOCS / "methods.md"
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
CARD = ROOT / "assets" / "models" / "mobilefacenet" / "README.md"
HEAD = ROOT / "assets" / "xcos" / "mobilefacenet"


@pytest.fixture(scope="module")
def report():
    return json.loads((ROOT / "assets" / "results" / "mobilefacenet-lfw.json").read_text())


def row(document, label):
    """The numbers in a row of a Markdown table."""
    (line,) = re.findall(rf"^\| {re.escape(label)} \|.*$", document.read_text(), re.MULTILINE)
    return [float(number) for number in re.findall(r"\d+\.\d+", line.partition("|")[2].partition("|")[2])]


def words(document):
    """A document's text on one line."""
    return " ".join(document.read_text().split())


def read_report(name):
    return json.loads((ROOT / "assets" / "results" / name).read_text())


@pytest.mark.parametrize("document", [CONFIDENCE, CARD], ids=["docs", "card"])
def test_results_are_those_of_the_report(document, report):
    accuracy, separation, point = report["accuracy"], report["separation"], report["operating_point"]
    of_folds = [accuracy[name] for name in ("mean", "standard_error", "standard_deviation")]
    assert row(document, "accuracy, ten folds") == [round(100 * number, 2) for number in of_folds]
    assert row(document, "threshold on the cosine distance") == [round(point["threshold"], 3)]
    for label, value, interval in (
        ("FMR at the threshold", point["fmr"], point["fmr_interval"]),
        ("FNMR at the threshold", point["fnmr"], point["fnmr_interval"]),
        ("EER", separation["eer"], separation["eer_interval"]),
    ):
        assert row(document, label) == [round(100 * one, 2) for one in (value, *interval.values())]


def test_what_is_said_of_sface_is_that_of_its_report():
    report = json.loads((ROOT / "assets" / "results" / "sface-lfw.json").read_text())
    accuracy, eer = (100 * one for one in (report["accuracy"]["mean"], report["separation"]["eer"]))
    text = words(DOCS / "models.md")
    assert f"its accuracy on LFW is {accuracy:.2f} %, its EER {eer:.2f} %" in text
    calibration = json.loads((ROOT / "assets" / "calibrations" / "sface-lfw.json").read_text())
    assert calibration["model_sha256"] == report["model_sha256"]


def test_comparison_is_that_of_the_report(report):
    for method in report["comparison"]:
        numbers = [method[name] for name in ("log_loss", "brier", "ece", "adaptive_ece")]
        assert row(CONFIDENCE, method["method"]) == [round(number, 4) for number in numbers]


def test_likelihood_ratios_are_those_of_the_report(report):
    text = words(CONFIDENCE)
    confidence, ratios = report["confidence"], report["likelihood_ratio"]
    assert f"have a Cllr of {confidence['cllr']:.3f} bits" in text
    assert f"{confidence['min_cllr']:.3f} of it no calibration could save" in text
    wrong = [100 * ratios[name] for name in ("misleading_genuine", "misleading_impostor")]
    assert f"mislead in {wrong[0]:.1f} % of the genuine and {wrong[1]:.2f} % of the impostor pairs" in text
    assert f"carry, a ratio of {10 ** ratios['bounds']['high']:,.0f}, leaves" in text
    # Rounded down, as a confidence is that reaches so far.
    different = 1 / (1 + 10 ** ratios["bounds"]["low"])
    assert f'"over {int(1000 * different) / 10} %" of different people' in text


def test_the_default_is_the_best_of_the_comparison(report):
    from xfv_demo.calibration.calibrators import DEFAULT_METHOD

    best = min(report["comparison"], key=lambda method: method["log_loss"])
    assert best["method"] == DEFAULT_METHOD
    assert best["brier"] == min(method["brier"] for method in report["comparison"])


def test_commands_on_the_examples_run(tmp_path, run_python):
    """As they stand, but for the model: the bundled one, to fetch nothing."""
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    lines = {
        line
        for document in DOCUMENTS
        for line in re.findall(
            r"^\.venv/bin/python (-m xfv_demo .*assets/examples.*)$", document.read_text(), re.MULTILINE
        )
    }
    assert {line.split()[2] for line in lines} == {"verify", "explain"}
    for line in lines:
        done = run_python(*shlex.split(line), "--model", "mobilefacenet", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "person" in done.stdout.lower()
        if "verify" in line and "--json" not in line:
            (told,) = re.findall(r"distance +(.*threshold [\d.]+)", done.stdout)
            (sure,) = re.findall(r"confidence +(over [\d.]+ %)", done.stdout)
            for document in (README, DOCS / "index.md"):
                assert f"Same person, {sure} confident: distance {told}." in words(document)
    assert (tmp_path / "explained" / "figure.png").stat().st_size > 100_000


def python_blocks(document):
    return re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL)


@pytest.mark.slow
def test_python_runs(tmp_path, monkeypatch):
    """A page's blocks one after the other, as a reader would; with the bundled model, to fetch nothing."""
    for name, photo in (("a.jpg", "obama.jpg"), ("b.jpg", "obama2.jpg")):
        (tmp_path / name).write_bytes((ROOT / "assets" / "examples" / photo).read_bytes())
    shutil.copytree(ROOT / "assets" / "explore" / "lfw", tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    with_python = [document for document in DOCUMENTS if python_blocks(document)]
    assert set(with_python) >= {README, DOCS / "python.md"}
    for document in with_python:
        seen = {}
        for block in python_blocks(document):
            exec(block.replace('"auto"', '"mobilefacenet"'), seen)
        if "verification" in seen:
            assert seen["verification"].distance > 0
            assert seen["explanation"].probe_map.shape == (112, 112)
        if "HalvesExplainer" in seen:
            halves = seen["HalvesExplainer"](seen["load_embedder"]("mobilefacenet")).explain(
                seen["aligned"], seen["aligned"][:, ::-1]
            )
            assert halves.method == "halves"
            # A face and its mirror image: either half holds them together.
            assert halves.probe_map[0, 0] > 0
            assert halves.probe_map[-1, 0] > 0


def test_examples_are_short():
    bodies = [body for document in DOCUMENTS for body in python_blocks(document)]
    assert len(bodies) >= 4
    for body in bodies:
        assert len([line for line in body.splitlines() if line.strip()]) < 20
    assert len(README.read_text().splitlines()) <= 160


def test_front_matter_fits_the_project():
    front = README.read_text().split("---")[1]
    told = dict(re.findall(r'^(\w+): "?(.*?)"?$', front, re.MULTILINE))
    assert (ROOT / told["app_file"]).is_file()
    (lowest,) = re.findall(r"^gradio>=([\d.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    version = [int(part) for part in told["sdk_version"].split(".")[:2]]
    assert version >= [int(part) for part in lowest.split(".")]
    assert told["python_version"] in ("3.11", "3.12", "3.13")


def test_speed_is_as_the_command_wrote_it():
    from pydantic import TypeAdapter

    from xfv_demo.evaluation.latency.report import SpeedReport
    from xfv_demo.evaluation.latency.tables import markdown

    report = TypeAdapter(SpeedReport).validate_python(read_report("speed.json"))
    assert written(DOCS / "results" / "speed.md", "speed") == markdown(report)


def written(document, mark):
    """What a command wrote between a document's marks."""
    return document.read_text().partition(f"<!-- {mark} -->")[2].partition(f"<!-- /{mark} -->")[0].strip()


@pytest.mark.parametrize("document", [README, DOCS / "speed.md"], ids=["README", "docs"])
def test_the_headline_of_speed_is_that_of_the_benchmark(document):
    timings = {one["procedure"]: one for one in read_report("speed.json")["models"]["mobilefacenet"]}
    published, ours = timings["published"], timings["OpenVINO"]
    assert round(ours["agreement"], 5) == 1
    told = re.search(
        r"([\d.]+) s (?:on two cores, where|in place of)[^.]*? ([\d.]+) s\D+([\d.]+) times as fast",
        words(document),
    )
    assert told, document
    assert [float(one) for one in told.groups()] == [
        round(ours["total"], 2),
        round(published["total"], 2),
        round(ours["speedup"], 1),
    ]


def test_the_headline_of_confidence_is_that_of_the_report(report):
    accuracy, ece = 100 * report["accuracy"]["mean"], 100 * report["confidence"]["ece"]
    told = f"decides {accuracy:.2f} % of LFW's pairs rightly"
    assert told in words(README)
    assert f"off by {ece:.2f} % on average (ECE)" in words(README)


def test_the_headline_of_sizes_is_that_of_the_report():
    (row,) = (
        one
        for one in read_report("mobilefacenet-lfw-sizes.json")["rows"]
        if one["title"] == "shrunk to 16 %" and one["worse"] == "one"
    )
    before, after = (100 * row[name]["accuracy"] for name in ("before", "after"))
    told = f"sizes decides {after:.2f} % rightly, where the plain one decides {before:.2f} %"
    assert f"At 16 % of the size for one photo, the calibration by {told}" in words(CONFIDENCE)


@pytest.mark.parametrize("path", [METHODS, HEAD / "README.md"], ids=["docs", "card"])
def test_figures_of_xcos_are_those_of_the_files(path):
    report = json.loads((ROOT / "assets" / "results" / "mobilefacenet-lfw-xcos.json").read_text())
    both = report["xcos"], report["cosine"]
    for fold, accuracies in zip(
        report["folds"], zip(*(one["accuracies"] for one in both), strict=True), strict=True
    ):
        assert row(path, f"accuracy, fold {fold}") == [round(100 * one, 2) for one in accuracies]
    assert row(path, "EER, folds 9 and 10") == [round(100 * one["eer"], 2) for one in both]
    text = " ".join(path.read_text().split())
    for name in ("all", "genuine", "impostor"):
        assert f"{report['correlations'][name]:.3f}" in text
    for value in (report["difference"], *report["difference_interval"].values()):
        assert f"{abs(100 * value):.2f}" in text
    assert report["heads"][0]["held_out"] == "folds 9, 10 of lfw's pairs.txt"
    assert report["trained_on"] == 4800


def test_the_heads_card_says_what_its_file_says():
    head, text = json.loads((HEAD / "head.json").read_text()), (HEAD / "README.md").read_text()
    for name in ("training_images", "training_people", "validation_images", "validation_people"):
        assert f"{head[name]:,}" in text
    people = (HEAD / "people.txt").read_text().splitlines()
    assert len(people) == head["training_people"] + head["validation_people"]
    assert f"{len(people):,} names" in text
    assert f"{head['seconds']:.0f} s" in text


def test_the_card_names_the_files_that_are_there(report):
    import hashlib

    text = CARD.read_text()
    for path in (CARD.parent / "saved_model.pb", *(CARD.parent / "variables").iterdir()):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in text


def test_commands_are_those_of_the_command_line(monkeypatch):
    """Each is taken apart as if it were run: an option that is not there would be refused."""
    # Whether LFW was fetched is not the question.
    monkeypatch.setattr("xfv_demo.datasets.fetching.dataset_path", Path)
    import typer

    from xfv_demo.cli.options import app

    lines = {
        line for document in DOCUMENTS for line in re.findall(r"-m xfv_demo ([^`\n]+)", document.read_text())
    }
    assert {line.split()[0] for line in lines} >= {"verify", "explain", "bench", "fetch", "evaluate"}
    for line in lines:
        command, words = typer.main.get_command(app), shlex.split(line)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        if words:  # A command may be named by its name alone.
            command.make_context(command.name, words)


def test_commands_are_of_kinds_that_a_test_knows():
    """Those of xfv_demo are taken apart above, those of Docker in test_container.py."""
    known = re.compile(
        r"python3 -m venv \.venv|docker .*|\.venv/bin/lint-imports|\.venv/bin/python (demo/app\.py|-m ("
        r"pip install \"\.\[(docs|demo)\]\"|xfv_demo .*|ruff (format --check|check) \.|mypy|pytest"
        r"|mkdocs build))"
    )
    for document in DOCUMENTS:
        for block in re.findall(r"```sh\n(.*?)```", document.read_text(), re.DOTALL):
            for command in re.split(r" && |\n", block.strip()):
                if command.startswith(".venv/bin/python -m pip install -r "):
                    for path in re.findall(r"-r (\S+)", command):
                        assert (ROOT / path).is_file(), command
                else:
                    assert known.fullmatch(command), f"{document.name}: {command}"


@pytest.mark.slow
def test_ci_finds_the_command_of_the_tests():
    """By the lines of .ci/run that look for it."""
    script = (ROOT / ".ci" / "run").read_text()
    (looks,) = re.findall(r"^command=.*$", script, re.MULTILINE)
    found = subprocess.run(
        ["bash", "-euc", f'{looks}\nprintf %s "$command"'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.fullmatch(
        r"python3 -m venv \.venv && .*-r tests/requirements\.txt && \.venv/bin/python -m pytest", found
    )


def headings(document):
    """A document's anchors, as GitHub and MkDocs make them of its headings."""
    lines = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).strip().replace(" ", "-") for line in lines}


@pytest.mark.parametrize("document", [*sorted(ROOT.glob("assets/**/README.md")), *DOCUMENTS])
def test_links_within_the_project_lead_somewhere(document):
    prose = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)]*)\)", prose):
        if "://" in target:
            continue
        path = document.parent / target if target else document
        assert path.exists(), target
        assert not anchor or anchor in headings(path), f"{target}#{anchor}"


@pytest.fixture(scope="module")
def explanations():
    """The report of the benchmark of explanations."""
    from pydantic import TypeAdapter

    from xfv_demo.evaluation.explanations.report import BenchmarkReport

    read = read_report("mobilefacenet-lfw-explanations.json")
    assert read.pop("format") == "xfv-demo explanation benchmark"
    assert read.pop("version") == 1
    return TypeAdapter(BenchmarkReport).validate_python(read)


def test_the_benchmark_is_as_the_command_wrote_it(explanations):
    from xfv_demo.evaluation.explanations.tables import markdown

    document = DOCS / "results" / "mobilefacenet-lfw-explanations.md"
    assert written(document, "patch-lfw") == markdown(explanations)


@pytest.mark.parametrize("document", [README, METHODS], ids=["README", "docs"])
def test_methods_are_told_with_what_was_measured_of_them(explanations, document):
    measured = {one.key: one for one in explanations.contenders}
    for method in EXPLAINERS:
        # A method that no run has measured yet has neither number.
        one = measured.get("occlusion-all" if method == "occlusion" else method)
        told = [f"{one.common.found.value:.3f}", f"{one.seconds:.2f}"] if one else ["", ""]
        label = f"`{method}`" if document == README else f"[`{method}`](#{method})"
        (line,) = re.findall(rf"^\| {re.escape(label)} \|.*$", document.read_text(), re.MULTILINE)
        assert [cell.strip() for cell in line.split("|")[-3:-1]] == told
        if document == METHODS:
            (section,) = re.findall(
                rf"^## [^\n]*\n+!\[[^]]*\]\(pictures/{method}\.webp\)\n(.*?)(?=^## )",
                document.read_text(),
                re.MULTILINE | re.DOTALL,
            )
            assert re.search(r"\$\$.+\$\$", section)
            assert (f"**Cost.** {one.seconds:.2f} s a pair" if one else "**Cost.**") in section
            assert re.search(r"\*\*Source\.\*\* .*?arxiv", section, re.DOTALL)
            assert "**What it cannot say.**" in section


def test_what_is_usual_is_told_as_the_file_has_it():
    file = ROOT / "assets" / "references" / "mobilefacenet-lfw.json"
    kept = json.loads(file.read_text())
    *others, last = (f"`{method}`" for method in kept["methods"])
    told = f"{kept['genuine_pairs']} pairs of one person and {kept['impostor_pairs']} of strangers"
    assert f"{told}, for {', '.join(others)} and {last}." in words(METHODS)


def test_the_headline_of_explanations_is_that_of_the_benchmark(explanations):
    area = {one.key: one.common.replacement.value for one in explanations.contenders}
    better = {
        one.one
        for one in explanations.differences
        if one.other == "face-prior" and one.replacement.interval.high < 0
    }
    assert better == {"occlusion-paired"}
    told = f"(area {area['occlusion-paired']:.3f} against {area['face-prior']:.3f}, less is better)"
    assert told in words(README)
    found = {one.key: one.common.found.value for one in explanations.contenders}
    assert f"reach {found['random']:.3f}," in words(README)
    for document in (README, METHODS):
        assert f"middle of the face {found['face-prior']:.3f}" in words(document) or (
            f"{found['face-prior']:.3f} for a map that always shows the middle of the face" in words(document)
        )


def test_the_benchmark_is_of_enough_pairs(explanations):
    from xfv_demo.evaluation.explanations.methods import COMPARED_METHODS

    # What came after the run has one of its own.
    new = {"mean-face", "mean-face-smooth", "integrated-gradients"}
    assert {one.key for one in explanations.contenders} == set(COMPARED_METHODS) - new
    for one in explanations.contenders:
        assert one.common.pairs.total >= 200
        assert one.every.pairs.total >= (200 if COMPARED_METHODS[one.key].slow else 1200)


def test_the_page_explains_by_what_the_benchmark_says(explanations):
    from xfv_demo.evaluation.explanations.report import default_methods
    from xfv_demo.pipeline import DEFAULT_METHODS

    assert default_methods(explanations.contenders) == DEFAULT_METHODS


def test_in_the_benchmarks_figure_no_number_lies_on_another(explanations):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from xfv_demo.evaluation.explanations.figures import tradeoff_figure

    figure = tradeoff_figure(explanations)
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    numbers = [words for words in axes.texts if words.get_text().isdigit()]
    timed = [place for place, one in enumerate(explanations.contenders, 1) if one.seconds is not None]
    assert sorted(int(words.get_text()) for words in numbers) == timed
    boxes = [words.get_window_extent() for words in numbers]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert "equal times side by side" in axes.get_xlabel()


def test_the_confidence_by_size_is_as_the_command_wrote_it():
    from pydantic import TypeAdapter

    from xfv_demo.evaluation.accuracy.by_size import FORMAT, SizeReport, markdown

    read = read_report("mobilefacenet-lfw-sizes.json")
    assert (read.pop("format"), read.pop("version")) == FORMAT
    told = markdown(TypeAdapter(SizeReport).validate_python(read))
    assert written(DOCS / "results" / "mobilefacenet-lfw-sizes.md", "sizes") == told


def test_what_is_wrong_on_lfw_is_what_the_store_says():
    pytest.importorskip("duckdb")
    from xfv_demo.explore import open_store

    document = (DOCS / "results" / "lfw-errors.md").read_text()
    counted = """
        SELECT outcome, count(*) AS pairs, avg(confidence) AS confidence,
            count(*) FILTER (len(cautions) > 0) AS cautioned,
            count(*) FILTER (confidence IS NULL) AS withheld,
            count(*) FILTER (confidence >= 0.95) AS sure, min(distance) AS low, max(distance) AS high
        FROM pairs GROUP BY outcome
    """
    rows = {row["outcome"]: row for row in open_store(ROOT / "assets/explore/lfw").query(counted).to_pylist()}
    for outcome, row in rows.items():
        told = next(line for line in document.splitlines() if line.startswith(f"| {outcome} |"))
        _, _, pairs, confidence, cautioned, withheld, _ = (cell.strip() for cell in told.split("|"))
        assert pairs == f"{row['pairs']:,}"
        assert confidence == f"{100 * row['confidence']:.1f} %"
        assert cautioned.split()[0] == str(row["cautioned"])
        assert withheld in ("", str(row["withheld"]))
    assert rows["false non-match"]["sure"] == 9
    assert "Nine of them were stated with 95 % or more" in document
    low, high = (f"{rows['false match'][end]:.3f}" for end in ("low", "high"))
    assert f"between {low} and {high}" in document


def test_the_run_of_mean_face_is_as_the_command_wrote_it():
    from pydantic import TypeAdapter

    from xfv_demo.evaluation.explanations.report import BenchmarkReport
    from xfv_demo.evaluation.explanations.tables import markdown

    read = read_report("mobilefacenet-lfw-mean-face.json")
    del read["format"], read["version"]
    report = TypeAdapter(BenchmarkReport).validate_python(read)
    assert written(DOCS / "results" / "mobilefacenet-lfw-mean-face.md", "patch-lfw") == markdown(report)
    of = {one.key: one for one in report.contenders}
    found = {key: f"{one.common.found.value:.3f}" for key, one in of.items()}
    told = words(DOCS / "benchmark.md")
    assert f"AUC {found['mean-face']} against {found['occlusion-all']} on the same 80 pairs" in told
    assert f"Integrated gradients find less, {found['integrated-gradients']}." in told
    assert round(of["occlusion-all"].seconds / of["mean-face"].seconds) == 24
    (apart,) = (one for one in report.differences if (one.one, one.other) == ("occlusion-all", "mean-face"))
    for measure in (apart.replacement, apart.found):
        assert measure.interval.low < 0 < measure.interval.high
