"""A small server on loopback that speaks Kaggle's protocol, as far as downloads and submissions go."""

import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "KGAT_not-a-real-token-0123456789"
SLUG = "galaxy-zoo-the-galaxy-challenge"


@dataclass
class Kaggle:
    """What the server knows and how it is to misbehave; what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)  # that it lists, where they are not the files' own
    refuse: dict[str, tuple[int, str, dict]] = field(default_factory=dict)  # request -> status, message, headers
    cut: dict[str, int] = field(default_factory=dict)  # file -> bytes after which the first answer breaks off
    drop_put: bool = False  # the connection breaks while a submission is being sent
    swallow: bool = False  # says that a submission was taken, and does not take it
    pending: int = 0  # looks at the list until a submission is scored
    fails: str = ""  # why it cannot be scored
    submissions: list[dict] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    kernels: list[dict] = field(default_factory=list)
    asked: Counter = field(default_factory=Counter)
    ranges: list[str] = field(default_factory=list)
    address: str = ""

    def answer(self, request: str, body: dict) -> dict:
        """The JSON answer to one request of the client."""
        return getattr(self, request)(body)

    def IntrospectToken(self, body):
        return {"active": body.get("token") == TOKEN, "username": "somebody"}

    def ListDataFiles(self, body):
        page, names = int(body.get("pageToken") or 0), sorted(self.files)
        listed = [{"name": name, "totalBytes": self.sizes.get(name, len(self.files[name]))} for name in names]
        more = {"nextPageToken": str(page + 2)} if page + 2 < len(names) else {}
        return {"files": listed[page : page + 2]} | more

    def StartSubmissionUpload(self, body):
        return {"token": "blob", "createUrl": f"{self.address}/blob/secret-upload-address"}

    def CreateSubmission(self, body):
        made = {"ref": 1000 + len(self.submissions), "description": body["submissionDescription"]}
        made |= {"date": "2026-11-23T12:00:00Z", "status": "PENDING", "looks": 0}
        if not self.swallow:
            self.submissions.insert(0, made)
        return {"message": "Successfully submitted to Galaxy Zoo", "ref": made["ref"]}

    def ListSubmissions(self, body):
        for made in self.submissions:
            made["looks"] += 1
            if made["status"] == "PENDING" and made["looks"] > self.pending:
                done = {"status": "ERROR", "errorDescription": self.fails} if self.fails else {"status": "COMPLETE"}
                made |= done | ({} if self.fails else {"publicScore": "0.07312", "privateScore": "0.07345"})
        return {"submissions": [{k: v for k, v in made.items() if k != "looks"} for made in self.submissions]}

    def SaveKernel(self, body):
        self.kernels.append(body)
        return {"ref": body["slug"], "versionNumber": len(self.kernels)}

    def GetSubmissionLimits(self, body):
        return {"numToday": 2, "numAllowedNow": 3}


class Handler(BaseHTTPRequestHandler):
    """Requests by POST to /v1/<service>/<request>, files by redirection to /storage/<name>."""

    kaggle: Kaggle
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        request = self.path.rpartition("/")[2]
        self.kaggle.asked[request] += 1
        if request in self.kaggle.refuse:
            status, message, headers = self.kaggle.refuse[request]
            return self.send(status, json.dumps({"code": status, "message": message}).encode(), headers)
        if request != "IntrospectToken" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.send(401, json.dumps({"code": 401, "message": "Unauthenticated"}).encode())
        if body.get("competitionName", SLUG) != SLUG:
            return self.send(404, json.dumps({"code": 404, "message": "not found"}).encode())
        if request == "DownloadDataFile":
            return self.send(302, b"", {"Location": f"/storage/{body['fileName']}?signature=secret"})
        return self.send(200, json.dumps(self.kaggle.answer(request, body)).encode())

    def do_GET(self):
        name = self.path.rpartition("/")[2].partition("?")[0]
        data, status, wanted = self.kaggle.files[name], 200, self.headers.get("Range")
        headers = {"Accept-Ranges": "bytes", "ETag": f'"{name}"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
        if wanted:
            self.kaggle.ranges.append(f"{name} {wanted}")
            data, status = data[int(wanted.removeprefix("bytes=").rstrip("-")) :], 206
        self.kaggle.asked[f"GET {name}"] += 1
        self.send(status, data, headers | {"Content-Type": "application/zip"}, cut=self.kaggle.cut.pop(name, None))

    def do_PUT(self):
        if self.kaggle.drop_put:
            self.rfile.read(10)
            self.close_connection = True
            return self.connection.close()
        self.kaggle.blobs["blob"] = self.rfile.read(int(self.headers["Content-Length"]))
        return self.send(200, b"")

    def send(self, status: int, data: bytes, headers: dict | None = None, cut: int | None = None):
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", "Content-Length": len(data), **(headers or {})}.items():
            self.send_header(key, str(value))
        self.end_headers()
        self.wfile.write(data[:cut])
        if cut is not None:
            self.close_connection = True


def serve(kaggle: Kaggle) -> ThreadingHTTPServer:
    """The server, listening on a free port of loopback in a thread of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"kaggle": kaggle}))
    kaggle.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
