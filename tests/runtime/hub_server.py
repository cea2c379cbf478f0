"""A model hub on this machine, which speaks as much of Hugging Face's interface as its library needs here."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Hub", "served_hub"]

_PRIVATE = "Bearer hf_owner"


@dataclass
class Hub:
    """Repositories, each with its commits, newest last; and what was asked."""

    commits: dict[str, list[dict[str, bytes]]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    address: str = ""
    broken: bool = False

    def commit_id(self, name: str, number: int) -> str:
        return hashlib.sha1(f"{name} {number}".encode(), usedforsecurity=False).hexdigest()

    def found(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit of a revision, and its files."""
        numbered = {self.commit_id(name, i): files for i, files in enumerate(self.commits[name])}
        if revision == "main":
            revision = [*numbered][-1]
        return (revision, numbered[revision]) if revision in numbered else None


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def _said(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _document(self, document: object) -> None:
        self._said(200, json.dumps(document).encode(), Content_Type="application/json")

    def _error(self, status: int, code: str) -> None:
        self._said(status, b"", X_Error_Code=code, X_Error_Message=code)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _repository(self, name: str) -> bool:
        """Whether a repository is there for who asks; if not, that was said."""
        if self.hub.broken:
            self._said(500)
        elif name in self.hub.gated:
            self._error(403, "GatedRepo")
        elif name not in self.hub.commits or (
            name in self.hub.private and self.headers.get("Authorization") != _PRIVATE
        ):
            self._error(404, "RepoNotFound")
        else:
            return True
        return False

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append(f"{self.command} {path}")
        if one := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/(.+)", path):
            name, kind, revision = one.groups()
            if not self._repository(name):
                return
            found = self.hub.found(name, revision)
            if found is None:
                self._error(404, "RevisionNotFound")
            elif kind == "tree":
                self._document(
                    [{"type": "file", "path": p, "size": len(c), "oid": "0" * 40} for p, c in found[1].items()]
                )
            else:
                self._document({"id": name, "sha": found[0], "siblings": [{"rfilename": path} for path in found[1]]})
            return
        one = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if one is None or not self._repository(one[1]):
            if one is None:
                self._said(404)
            return
        found = self.hub.found(one[1], one[2])
        if found is None:
            self._error(404, "RevisionNotFound")
        elif one[3] not in found[1]:
            self._said(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=found[0])
        else:
            content = found[1][one[3]]
            digest = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            self._said(200, content, ETag=f'"{digest}"', X_Repo_Commit=found[0], Accept_Ranges="bytes")

    def do_POST(self) -> None:
        body, path = self._body(), self.path.partition("?")[0]
        self.hub.asked.append(f"POST {path}")
        if path == "/api/validate-yaml":
            self._document({"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != _PRIVATE:
            self._error(401, "Unauthorized")
        elif path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}" if wanted.get("organization") else wanted["name"]
            if name in self.hub.commits:
                self._said(409, json.dumps({"url": f"{self.hub.address}/{name}"}).encode())
                return
            self.hub.commits[name] = [{}]
            if wanted.get("private") or wanted.get("visibility") == "private":
                self.hub.private.add(name)
            self._document({"url": f"{self.hub.address}/{name}", "name": name})
        elif one := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            files = json.loads(body)["files"]
            self._document(
                {"files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]}
            )
        elif one := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            lines = [json.loads(line) for line in body.splitlines()]
            new = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            commits = self.hub.commits[one[1]]
            commits.append({**commits[-1], **new})
            made = self.hub.commit_id(one[1], len(commits) - 1)
            self._document(
                {"success": True, "commitOid": made, "commitUrl": f"{self.hub.address}/{one[1]}/commit/{made}"}
            )
        else:
            self._said(404)


@contextlib.contextmanager
def served_hub() -> Iterator[Hub]:
    """An empty hub, as long as it is served."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        hub.address = f"http://127.0.0.1:{server.server_address[1]}"
        yield hub
        server.shutdown()
