"""``/ui``: the page, three files of this package and nothing from elsewhere.

The browser is told so too: the content security policy lets it load and ask nothing but this
server, and run no script that is written into the page.
"""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, RedirectResponse, Response

FOLDER = Path(__file__).parent / "page"
FILES = {
    "/ui": ("index.html", "text/html; charset=utf-8"),
    "/ui/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/ui/style.css": ("style.css", "text/css; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # A new version of the package is seen at the next visit.
    "Cache-Control": "no-cache",
}

router = APIRouter(include_in_schema=False)


def _route(path: str, name: str, kind: str) -> None:
    def answer() -> Response:
        return FileResponse(FOLDER / name, media_type=kind, headers=HEADERS)

    router.add_api_route(path, answer, methods=["GET", "HEAD"])


for _path, (_name, _kind) in FILES.items():
    _route(_path, _name, _kind)


@router.get("/ui/")
def without_slash() -> Response:
    """The page names its files relative to ``/ui``, so that it works behind a path prefix."""
    return RedirectResponse("../ui", status_code=308)
