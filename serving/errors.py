"""What a client did wrong, or what the server cannot do: a status and one sentence."""

BUSY = "server busy, please try again.  maximum pending requests exceeded"


class ApiError(Exception):
    """Ends a request with a status and a text; each API puts it into its own form.

    Args:
        status: of HTTP.
        text: what the client is told.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def busy() -> ApiError:
    return ApiError(503, BUSY)


def not_found(name: str) -> ApiError:
    return ApiError(404, f"model '{name}' not found")


def unsupported(name: str, what: str) -> ApiError:
    return ApiError(400, f'"{name}" does not support {what}')
