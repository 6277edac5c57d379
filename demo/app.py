"""The demo: two photos in, a verdict and its explanation out.

python demo/app.py [--model MODEL] [--host HOST] [--port PORT] [--share]
"""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

# Run as a script, Python looks beside this file and not in the project's folder, where the packages are.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# Read by Gradio when it is imported: no statistics to anyone.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
import typer

from demo import shared_html
from demo.benchmark.reports import RESULTS, read_reports
from demo.benchmark.sizes_html import sizes_html
from demo.benchmark.tab_html import benchmark_html
from demo.compare.faces_html import EXAMPLES
from demo.compare.handlers import Handlers
from demo.compare.layout import compare_tab
from demo.compare.session import Session
from demo.compare.wiring import wire
from demo.endpoints import add_endpoints
from demo.explore.stores import Stores
from demo.explore.tab import explore_tab, open_by_link
from demo.model_service import VerificationService
from demo.preparation import Preparation
from demo.privacy import Deletion, banner_html, hosted
from demo.server import line
from demo.server.hosts import Hosts, is_loopback
from demo.server.middleware import guarded_by
from demo.server.uploads import Uploads
from demo.theme import THEME
from xfv_demo.errors import XfvError
from xfv_demo.models.input_format import Channels, InputRange
from xfv_demo.models.registry import locate_model
from xfv_demo.runtime.console import one_line_errors, silence_native_libraries
from xfv_demo.runtime.processes import return_freed_memory

STYLE = Path(__file__).with_name("style.css")

# A phone's photo of 50 megapixels, the most that is accepted, has about this size.
LARGEST_UPLOAD = "40mb"

# Of so many visitors the state is kept, some 0.2 MB of each; of more, those who came last.
MOST_VISITORS = 500


def build_app(
    service: VerificationService,
    *,
    public: bool = False,
    deletion: Deletion | None = None,
    stores: Stores | None = None,
) -> gr.Blocks:
    """Lays the page out and wires it up.

    Args:
        service: Where the models come from.
        public: Whether others than this computer's user can reach the page, by a link or over the network.
        deletion: When photos are deleted; as the environment says where None.
        stores: Of whole data sets, to be explored; those that are shipped where None.

    Returns:
        The page, ready to launch.
    """
    deletion = deletion or Deletion.from_environment()
    uploads = Uploads.of_process(deletion)
    # Nobody else may take the machine for minutes, or see what was fetched to it. Behind a proxy, others come
    # as this machine's user does.
    own = not public and not hosted() and Hosts.for_server(None) == Hosts()
    # Served from where they are, not copied.
    gr.set_static_paths(EXAMPLES)
    with gr.Blocks(title="Why do these faces match?", analytics_enabled=False) as page:
        # Given as a class, it would be one more call that anybody can make. What expires is cleared aside:
        # clearing waits for what is being done for the visitor, and the server must not.
        session = gr.State(
            Session(),
            time_to_live=deletion.after_seconds,
            delete_callback=lambda kept: threading.Thread(target=kept.clear, daemon=True).start(),
        )
        with gr.Row(elem_classes="masthead"):
            gr.HTML(
                "<h1>Why do these faces match?</h1>"
                "<p>Two photos: the same person or not, how sure, and which parts of the faces say so.</p>"
            )
            status = gr.HTML(
                shared_html.status_html("loading", "The model is loading; comparing waits for it.")
            )
        with gr.Row(elem_classes="privacy"):
            gr.HTML(banner_html(deletion, public=public))
            delete = gr.Button("Delete now", size="sm", elem_classes="quiet")
        with gr.Tabs(elem_classes="questions"):
            with gr.Tab("Compare"):
                places, controls = compare_tab(service, session)
            with gr.Tab("Explore"):
                explore_tab(stores or Stores(), list(places.photos.values()), at_hand=own)
            with gr.Tab("Benchmark"):
                gr.HTML(benchmark_html(read_reports(RESULTS)) + sizes_html(RESULTS))
        gr.HTML(shared_html.foot_html(), elem_classes="foot")
        timer = gr.Timer(1.0)
        press = gr.Number(0, precision=0, visible=False)
        preparation = Preparation(service) if own else None
        handlers = Handlers(service, places, needs_consent=hosted(), preparation=preparation)
        wire(page, handlers, places, controls, delete=delete, press=press, status=status, timer=timer)
        add_endpoints(service)
        open_by_link(page)
        gr.Button(visible=False).click(
            _line_is_full, api_visibility="private", api_name="line_is_full", concurrency_limit=None
        )
    page.queue(max_size=line.GRADIO_LIMIT, default_concurrency_limit=1, api_open=False)
    uploads.watch(page)
    return page


def _line_is_full() -> None:
    """What the call of one who comes when the line is full is turned into."""
    raise gr.Error(line.LINE_IS_FULL, duration=None, title="Nothing was compared", print_exception=False)


def launch_options(host: str | None = None) -> dict[str, Any]:
    """What `launch` needs, wherever the page is launched: its looks, and who is answered.

    Args:
        host: The address that the server listens on, if others than this machine are to reach it.
    """
    return {
        "theme": THEME,
        "css_paths": STYLE,
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "max_file_size": LARGEST_UPLOAD,
        "state_session_capacity": MOST_VISITORS,
        # None of Gradio's other servers, which would stand before the gate or beside it.
        "ssr_mode": False,
        "mcp_server": False,
        "pwa": False,
        "app_kwargs": guarded_by(Hosts.for_server(host), Deletion.from_environment()),
    }


def run(
    model: Annotated[
        str,
        typer.Option(
            envvar="XFV_MODEL",
            help="auto, mobilefacenet, arcface-octuplet, a SavedModel folder, or an .onnx, .tflite or frozen "
            ".pb file.",
        ),
    ] = "auto",
    input_range: Annotated[
        InputRange | None,
        typer.Option(
            envvar="XFV_INPUT_RANGE",
            help="The pixels that a model's file takes, from black to white; said once, it is kept for "
            "the file.",
        ),
    ] = None,
    channels: Annotated[
        Channels | None,
        typer.Option(envvar="XFV_CHANNELS", help="The channel that it takes first, likewise."),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            envvar="XFV_CALIBRATION",
            help="The data set whose calibration gives the confidence; lfw unless given.",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            envvar="GRADIO_SERVER_NAME",
            help="The address to listen on; 127.0.0.1, this machine alone, unless given.",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            envvar="GRADIO_SERVER_PORT", help="The port; the first free one from 7860 unless given."
        ),
    ] = None,
    store: Annotated[
        list[Path] | None,
        typer.Option(
            envvar="XFV_STORES",
            help="The folder of a store, as `explore build` makes it, to be explored beside those that are "
            "shipped; can be given several times, in the environment with spaces between.",
        ),
    ] = None,
    share: Annotated[bool, typer.Option(help="Open a public link through Gradio's servers.")] = False,
) -> None:
    """Shows the page in a browser: two photos in, a verdict and its explanation out."""
    if model not in ("auto", "arcface-octuplet"):
        locate_model(model)  # A wrong folder is an error now, not once the page is up.
    return_freed_memory()
    service = VerificationService(model, calibration, input_range, channels)
    host = host or os.environ.get("GRADIO_SERVER_NAME")  # As Gradio would take it; the banner must know.
    public = share or not is_loopback(host)
    signal.signal(signal.SIGTERM, Uploads.end_process)
    # Gradio asks its own server whether it is up, which a proxy of the user's cannot tell.
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    os.environ["no_proxy"] = ",".join(filter(None, (direct, "localhost", "127.0.0.1")))
    page = build_app(service, public=public, stores=Stores(store or ()))
    service.start()
    try:
        page.launch(
            server_name=host, server_port=port, share=share, prevent_thread_lock=True, **launch_options(host)
        )
    except OSError as error:
        raise XfvError(f"the page cannot be served: {error}; choose another --port or --host") from error
    page.block_thread()


if __name__ == "__main__":
    with one_line_errors():
        silence_native_libraries()
        typer.run(run)
