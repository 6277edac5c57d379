"""What README and the model card say is what was measured."""

import itertools
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from xfv_demo import EXPLAINERS

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
CARD = ROOT / "assets" / "models" / "mobilefacenet" / "README.md"
HEAD = ROOT / "assets" / "xcos" / "mobilefacenet"


@pytest.fixture(scope="module")
def report():
    return json.loads((ROOT / "assets" / "results" / "mobilefacenet-lfw.json").read_text())


def row(document, label):
    """The numbers in a row of a Markdown table."""
    (line,) = re.findall(rf"^\| {re.escape(label)} \|.*$", document.read_text(), re.MULTILINE)
    return [float(number) for number in re.findall(r"\d+\.\d+", line.partition("|")[2].partition("|")[2])]


@pytest.mark.parametrize("document", [README, CARD], ids=["README", "card"])
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
    text = " ".join(README.read_text().split())
    assert f"its accuracy on LFW is {accuracy:.2f} %, its EER {eer:.2f} %" in text
    calibration = json.loads((ROOT / "assets" / "calibrations" / "sface-lfw.json").read_text())
    assert calibration["model_sha256"] == report["model_sha256"]


def test_comparison_is_that_of_the_report(report):
    for method in report["comparison"]:
        numbers = [method[name] for name in ("log_loss", "brier", "ece", "adaptive_ece")]
        assert row(README, method["method"]) == [round(number, 4) for number in numbers]


def test_likelihood_ratios_are_those_of_the_report(report):
    text = " ".join(README.read_text().split())
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
    lines = re.findall(
        r"^\.venv/bin/python (-m xfv_demo .*assets/examples.*)$", README.read_text(), re.MULTILINE
    )
    assert {line.split()[2] for line in lines} == {"verify", "explain"}
    for line in lines:
        done = run_python(*shlex.split(line), "--model", "mobilefacenet", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "person" in done.stdout.lower()
    assert (tmp_path / "explained" / "figure.png").stat().st_size > 100_000


@pytest.mark.slow
def test_python_of_the_readme_runs(tmp_path, monkeypatch):
    """Block after block in one place, as a reader would; with the bundled model, to fetch nothing."""
    for name, photo in (("a.jpg", "obama.jpg"), ("b.jpg", "obama2.jpg")):
        (tmp_path / name).write_bytes((ROOT / "assets" / "examples" / photo).read_bytes())
    shutil.copytree(ROOT / "assets" / "explore" / "lfw", tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 3
    seen = {}
    for block in blocks:
        exec(block.replace('"auto"', '"mobilefacenet"'), seen)
    assert seen["verification"].distance > 0
    halves = seen["HalvesExplainer"](seen["load_embedder"]("mobilefacenet")).explain(
        seen["aligned"], seen["aligned"][:, ::-1]
    )
    assert halves.method == "halves"
    # A face and its mirror image: either half holds them together.
    assert halves.probe_map[0, 0] > 0
    assert halves.probe_map[-1, 0] > 0


def test_examples_are_short():
    for body in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL):
        assert len([line for line in body.splitlines() if line.strip()]) < 20


def test_front_matter_fits_the_project():
    front = README.read_text().split("---")[1]
    told = dict(re.findall(r'^(\w+): "?(.*?)"?$', front, re.MULTILINE))
    assert (ROOT / told["app_file"]).is_file()
    (lowest,) = re.findall(r"^gradio>=([\d.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    version = [int(part) for part in told["sdk_version"].split(".")[:2]]
    assert version >= [int(part) for part in lowest.split(".")]
    assert told["python_version"] in ("3.11", "3.12", "3.13")


def test_speed_is_that_of_the_benchmark():
    measured = json.loads((ROOT / "assets" / "results" / "speed.json").read_text())
    for model, timings in measured["models"].items():
        for timing in timings:
            told = row(README, f"{model}, {timing['procedure']}")
            seconds = [round(timing[name], 2) for name in ("first_map", "alike", "total")]
            assert told == [*seconds, round(timing["speedup"], 1), round(timing["agreement"], 5)]


def test_times_of_methods_are_those_of_the_benchmark():
    measured = json.loads((ROOT / "assets" / "results" / "speed.json").read_text())
    assert set(measured["methods"]) == set(measured["models"])
    for model, timings in measured["methods"].items():
        for timing in timings:
            told = row(README, f"{model}, {timing['method']}")
            assert told == [round(timing[name], 2) for name in ("first_map", "total", "of_occlusion")]
    methods = "|".join(EXPLAINERS)
    rows = re.findall(rf"^\| \w+, ({methods}) \|", README.read_text(), re.MULTILINE)
    assert len(rows) == sum(len(timings) for timings in measured["methods"].values())


def test_times_of_whole_processes_are_those_of_the_benchmark():
    measured = json.loads((ROOT / "assets" / "results" / "speed.json").read_text())
    # Until the benchmark is run again, results of before these were measured have none.
    starts = measured.get("starts", {})
    for model, timings in starts.items():
        for timing in timings:
            told = row(README, f"{model}, `{timing['command']}`")
            assert told == [round(timing[name], 2) for name in ("first_output", "total")]
    rows = re.findall(r"^\| \w+, `(?:verify|explain)", README.read_text(), re.MULTILINE)
    assert len(rows) == sum(len(timings) for timings in starts.values())


@pytest.mark.parametrize("path", [README, HEAD / "README.md"], ids=["README", "card"])
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

    lines = re.findall(r"-m xfv_demo ([^`\n]+)", README.read_text())
    assert {line.split()[0] for line in lines} >= {"verify", "explain", "bench", "fetch", "evaluate"}
    for line in lines:
        command, words = typer.main.get_command(app), shlex.split(line)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context(command.name, words)


@pytest.mark.parametrize("document", [*sorted(ROOT.glob("assets/**/README.md")), README])
def test_links_within_the_project_lead_somewhere(document):
    prose = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)\)", prose):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.fixture(scope="module")
def explanations():
    """The report of the benchmark of explanations."""
    from pydantic import TypeAdapter

    from xfv_demo.evaluation.explanations.report import BenchmarkReport

    read = json.loads((ROOT / "assets" / "results" / "mobilefacenet-lfw-explanations.json").read_text())
    assert read.pop("format") == "xfv-demo explanation benchmark"
    assert read.pop("version") == 1
    return TypeAdapter(BenchmarkReport).validate_python(read)


def test_the_benchmark_is_as_the_command_wrote_it(explanations):
    from xfv_demo.evaluation.explanations.tables import markdown

    section = README.read_text().partition("<!-- patch-lfw -->")[2].partition("<!-- /patch-lfw -->")[0]
    assert section.strip() == markdown(explanations)


def test_the_benchmark_is_of_enough_pairs(explanations):
    from xfv_demo.evaluation.explanations.methods import COMPARED_METHODS

    assert {one.key for one in explanations.contenders} == set(COMPARED_METHODS)
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

    read = json.loads((ROOT / "assets" / "results" / "mobilefacenet-lfw-sizes.json").read_text())
    assert (read.pop("format"), read.pop("version")) == FORMAT
    section = README.read_text().partition("<!-- sizes -->")[2].partition("<!-- /sizes -->")[0]
    assert section.strip() == markdown(TypeAdapter(SizeReport).validate_python(read))
