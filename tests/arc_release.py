"""A small release of made-up images under ARC's real names, and a web server that has it.

The server can misbehave, file by file, in the ways that servers do.
"""

import gzip
import hashlib
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd

from kenseg_utils import open_data

SUBJECTS = ["sub-M2005", "sub-M2051", "sub-M2084", "sub-M2169", "sub-M2195"]
TWO_SESSIONS = "sub-M2005"


def made_up(subjects=SUBJECTS) -> tuple[pd.DataFrame, dict[str, bytes]]:
    """The manifest of those subjects with sizes and hashes of made-up images, and their bytes.

    T1w 1 mm upright, mask on an oblique grid as of a T2w; later subjects' files are larger.
    """
    table = open_data.manifest("arc").set_index("subject", drop=False).loc[subjects]
    table, files = table.reset_index(drop=True), {}
    rng = np.random.default_rng(0)
    for number, row in table.iterrows():
        image = rng.integers(0, 255, (30 + 2 * number, 30, 30)).astype(np.uint8)
        mask = np.zeros((20, 20, 20), np.uint8)
        mask[8:12, 8:12, 8:12] = 1
        turn = np.deg2rad(15)
        oblique = np.eye(4)
        oblique[1:3, 1:3] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        for kind, array, affine in (("t1w", image, np.eye(4)), ("mask", mask, oblique)):
            content = gzip.compress(nibabel.Nifti1Image(array, affine).to_bytes(), 1, mtime=0)
            files[row[kind]] = content
            table.loc[number, f"{kind}_bytes"] = len(content)
            table.loc[number, f"{kind}_sha256"] = hashlib.sha256(content).hexdigest()
    return table, files


@dataclass
class Server:
    """What it serves and how. `asked` has (path, Range or "") in the order of requests.

    ranges: whether it answers Range with 206. headers: extra ones in every answer.
    By path, used up answer by answer: broken_off, the byte at which it hangs up; statuses, sent
    instead of the file. With `hold` it does not hang up before that event.
    """

    files: dict[str, bytes]
    url: str = ""
    ranges: bool = True
    broken_off: dict[str, list[int]] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    hold: threading.Event | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0


@contextmanager
def serving(files: dict[str, bytes]):
    """A Server of those files on this machine, for the time of a with block."""
    server = Server(files)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_):
            pass

        def do_GET(self):
            path, wanted = self.path.removeprefix("/ds004884/"), self.headers.get("Range", "")
            server.asked.append((path, wanted))
            content = server.files.get(path)
            if content is None or server.statuses.get(path):
                self.send_response(server.statuses[path].pop(0) if content else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = int(wanted[len("bytes=") : -1]) if wanted and server.ranges else 0
            self.send_response(206 if start else 200)
            size = len(content)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.send_header("Content-Length", str(size - start))
            for header in server.headers.items():
                self.send_header(*header)
            self.end_headers()
            end = server.broken_off[path].pop(0) if server.broken_off.get(path) else size
            self.wfile.write(content[start:end])
            server.sent += len(content[start:end])
            if end < size:
                if server.hold:
                    server.hold.wait(20)
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        server.url = f"http://127.0.0.1:{http.server_port}/ds004884/"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            if server.hold:
                server.hold.set()
            http.shutdown()
            thread.join()


def tree(folder: Path) -> dict[str, bytes]:
    """All images below a folder: path below it and bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.nii.gz*")
    }
