"""A page in the browser that reads one galaxy: drop an image, see its way down the decision tree.

reads   OUTPUT/PLAN/ensembles/NAME, the networks that it is made of, and the plan's training galaxies
writes  nothing

Also shown: the five-class label and its confidence, where the leading answers come from (Grad-CAM), and the training
galaxies that the network finds most alike. Images are JPEG, PNG or FITS of up to 16 MB and are not kept. The page
listens on this machine only, unless told otherwise.

    python -m pipeline.serve --ensemble OUTPUT/PLAN/ensembles/final [--host 127.0.0.1] [--port 8000] [--views 8]
"""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Template

from pipeline import cli
from pipeline.classifier import view_set_of
from pipeline.errors import DamagedImage, UserError
from pipeline.page.figure import DARK, LIGHT
from pipeline.reading import Reader

if TYPE_CHECKING:
    from fastapi import FastAPI

log = logging.getLogger(__name__)
PAGE = Path(__file__).parent / "templates" / "serve.html.jinja"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
LARGEST = 16 << 20  # bytes of an image


def application(reader: Reader) -> "FastAPI":
    """GET / is the page, POST /read takes the bytes of an image and answers in JSON; 413 and 415 say what is wrong."""
    from fastapi import FastAPI, HTTPException, Request
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import HTMLResponse

    made = FastAPI(title="Galaxy morphology", docs_url=None, redoc_url=None, openapi_url=None)
    template = Template(PAGE.read_text(encoding="utf-8"), autoescape=True)
    page = template.render(light=LIGHT, dark=DARK, megabytes=LARGEST >> 20)

    @made.get("/")
    def index() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": POLICY})

    async def read(request: Request) -> dict:
        data = bytearray()
        async for part in request.stream():
            data += part
            if len(data) > LARGEST:
                raise HTTPException(413, f"The file is larger than {LARGEST >> 20} MB.")
        try:
            return await run_in_threadpool(reader.read, bytes(data))
        except DamagedImage as error:
            raise HTTPException(415, f"The file {error}.") from None

    read.__annotations__["request"] = Request  # which FastAPI looks up by name where annotations are text
    made.post("/read")(read)
    return made


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    made = cli.Parser(prog="./run.sh serve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--ensemble", type=Path, required=True, help="folder OUTPUT/PLAN/ensembles/NAME")
    made.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 lets everybody in")
    made.add_argument("--port", type=int, default=8000)
    made.add_argument("--views", help="views averaged per galaxy, by name or number; as trained")
    options = made.parse_args(argv)
    view_set = view_set_of(options.views)
    try:
        import uvicorn
    except ImportError:
        raise UserError("serve needs FastAPI: .venv/bin/python -m pip install -r requirements-extra.txt") from None
    app = application(Reader(options.ensemble, view_set))
    log.info("serve      http://%s:%d (end with Ctrl-C)", options.host, options.port)
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning")


if __name__ == "__main__":
    cli.start(main)
