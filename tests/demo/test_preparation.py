"""Calibrating a model from the page: one at a time, told as it goes, and found by what compares."""

import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("gradio")

from demo import preparation
from demo.compare.handlers import Handlers
from demo.compare.session import ComparisonRequest, Session
from demo.compare.settings import choice_of
from demo.model_service import ModelConfig
from demo.preparation import Preparation, Preparing, preparation_html
from xfv_demo.errors import DatasetError

ONE, OTHER = ModelConfig("one"), ModelConfig("other")


class Service:
    """Models that have no calibration until one is made."""

    def __init__(self):
        self.calibrated = {}

    def verifier(self, choice):
        return SimpleNamespace(calibration=self.calibrated.get(choice.model))

    def embedder(self, choice):
        assert choice == ModelConfig(choice.model), "calibrations are made in float32"
        return choice.model

    def calibration_seconds(self, choice):
        return 290.0


@pytest.fixture
def service(tmp_path, monkeypatch):
    monkeypatch.setenv("XFV_CACHE", str(tmp_path))
    return Service()


@pytest.fixture
def work(service, monkeypatch):
    """Calibrating, held up at its middle until it is told to go on; raises what it is told to."""
    work = SimpleNamespace(begun=threading.Event(), go_on=threading.Event(), error=None, models=[])

    def calibrate(model, report):
        work.models.append(model)
        report("Fetching LFW")(1, 4)
        work.begun.set()
        assert work.go_on.wait(10)
        if work.error:
            raise work.error
        service.calibrated[model] = "a calibration"

    monkeypatch.setattr(preparation, "calibrate_on_lfw", calibrate)
    yield work
    work.go_on.set()


def end(work):
    work.go_on.set()
    for thread in threading.enumerate():
        if thread.name == "calibrate":
            thread.join(10)


def test_it_is_offered_made_and_found(service, work):
    made = Preparation(service)
    assert made.state(ONE) == Preparing("offered", "fetches 181 MB, takes about 5 minutes")
    made.begin(ONE)
    assert work.begun.wait(10)
    assert made.state(ONE) == Preparing("running", "Fetching LFW", 0.25)
    # By bfloat16 it is the same model.
    assert made.state(ModelConfig("one", "bfloat16")).state == "running"
    end(work)
    assert made.state(ONE) is None
    made.begin(ONE)
    assert work.models == ["one"]


def test_one_at_a_time(service, work):
    made = Preparation(service)
    made.begin(ONE)
    assert work.begun.wait(10)
    made.begin(ONE)
    made.begin(OTHER)
    assert made.state(OTHER) == Preparing("elsewhere")
    end(work)
    assert work.models == ["one"]
    assert made.state(OTHER).state == "offered"


def test_what_goes_wrong_is_told_and_can_be_tried_again(service, work):
    made = Preparation(service)
    work.error = DatasetError("lfw could not be fetched from <here>: no connection")
    made.begin(ONE)
    end(work)
    assert made.state(ONE) == Preparing("failed", "lfw could not be fetched from <here>: no connection")
    assert "from &lt;here&gt;: no connection</p><button" in preparation_html(made.state(ONE))
    work.error = None
    made.begin(ONE)
    end(work)
    assert made.state(ONE) is None


def test_nothing_is_offered_where_a_calibration_was_asked_for(service):
    assert Preparation(service).state(ModelConfig("one", dataset="mine")) is None


def test_once_it_is_made_an_older_verdict_is_said_to_want_a_comparison(service, work):
    service.status = lambda choice: SimpleNamespace(state="ready")
    handlers = Handlers(service, None, preparation=Preparation(service))
    session = Session()
    session.asked = ComparisonRequest(choice=choice_of("one", "float32", ""))
    session.verification = "a verdict"
    words, timer = handlers.prepare(session, "one", "", "float32")
    assert "is being calibrated" in words
    assert timer.active
    end(work)
    words, timer = handlers.prepare(session, "one", "", "float32")
    assert "Compare again" in words
    assert not timer.active
    # Of another model it says nothing, and of a verdict with a confidence neither.
    assert "Compare again" not in handlers.prepare(session, "other", "", "float32")[0]
    session.verifier = SimpleNamespace(calibration="a calibration")
    assert handlers.prepare(session, "one", "", "float32")[0] == ""
    end(work)


def test_what_the_page_shows():
    assert preparation_html(None) == ""
    offered = preparation_html(Preparing("offered", "takes about 5 minutes"))
    assert "not calibrated" in offered
    assert "takes about 5 minutes" in offered
    assert "commercial purpose" in offered
    running = preparation_html(Preparing("running", "Fetching LFW", 0.25))
    assert 'value="0.250"' in running
    assert "Fetching LFW, 25\N{NO-BREAK SPACE}%" in running
    for state in ("running", "elsewhere", "made"):
        assert "<button" not in preparation_html(Preparing(state))
