"""A page in the browser that reads one galaxy: drop an image, see its way down the decision tree.

reads   OUTPUT/PLAN/ensembles/NAME, the networks that it is made of, and the plan's training galaxies
writes  nothing

Also shown: the five-class label and its share, where the leading answers come from (Grad-CAM), and the training
galaxies that the network finds most alike; with --features also those of a catalogue that `embed` went through. Images
are JPEG, PNG or FITS of up to 16 MB and are not kept. The page listens on this machine only by default. An upload that
takes longer than a minute is given up on.

Programs ask as the page does: POST /read takes the bytes of an image and answers in JSON; GET /read says its version
and what its fields are, and which ensemble answers, with its caveats. Errors are 4xx with a sentence as "detail".

    ./run.sh serve --ensemble OUTPUT/PLAN/ensembles/final [--host 127.0.0.1] [--port 8000] [--views 8]
        [--features DIR]
"""

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import cli
from pipeline.commands.serve.galaxy_reader import FIELDS, Reader
from pipeline.errors import DamagedImage
from pipeline.models.classifier import view_set_of
from pipeline.web import server
from pipeline.web.page import rendered

if TYPE_CHECKING:
    from fastapi import FastAPI

PAGE = Path(__file__).parent / "page.html.jinja"
LARGEST = 16 << 20  # bytes of an image
SECONDS = 60  # that its upload may take
GONE = 499  # the code that servers note for a client that went away


def application(reader: Reader) -> "FastAPI":
    """GET / is the page, POST /read takes an image, GET /read explains its answer in JSON; 4xx say what is wrong."""
    from fastapi import FastAPI, HTTPException, Request
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import HTMLResponse
    from starlette.requests import ClientDisconnect

    app = FastAPI(title="Galaxy morphology", docs_url=None, redoc_url=None, openapi_url=None)
    page = rendered(PAGE, megabytes=LARGEST >> 20, about=reader.about, searched=reader.searched)

    @app.get("/")
    def index() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": server.POLICY})

    @app.get("/read")
    def explained() -> dict:
        return reader.about | {"post": "the bytes of a JPEG, PNG or FITS image", "answer": FIELDS}

    async def uploaded(request: Request) -> bytes:
        data = bytearray()
        async for part in request.stream():
            data += part
            if len(data) > LARGEST:
                raise HTTPException(413, f"The file is larger than {LARGEST >> 20} MB.")
        return bytes(data)

    async def read(request: Request) -> dict:
        try:
            data = await asyncio.wait_for(uploaded(request), SECONDS)
            return await run_in_threadpool(reader.read, data)
        except TimeoutError:
            raise HTTPException(408, f"The file did not arrive within {SECONDS} seconds.") from None
        except ClientDisconnect:
            raise HTTPException(GONE) from None
        except DamagedImage as error:
            raise HTTPException(415, f"The file {error}.") from None

    read.__annotations__["request"] = Request  # which FastAPI looks up by name where annotations are text
    app.post("/read")(read)
    return app


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = cli.Parser(
        prog="./run.sh serve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ensemble", type=Path, required=True, help="folder OUTPUT/PLAN/ensembles/NAME")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 lets everybody in")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free")
    parser.add_argument("--features", type=Path, metavar="DIR", help="also search the galaxies that `embed` put there")
    parser.add_argument("--views", help="views averaged per galaxy, by name or number; as trained")
    options = parser.parse_args(argv)
    view_set = view_set_of(options.views)
    server.require_packages("serve")
    with server.listening(options.host, options.port, "serve") as on:  # before networks are loaded, which takes a while
        reader = Reader(options.ensemble, view_set, options.features)
        reader.classifier.log_caveats("serve")
        server.run(application(reader), on, options.host, "serve")
