"""Files from addresses: retried, resumed, and whole."""

import contextlib
import hashlib
import http.client
import re
import sys
import time
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from tqdm import tqdm

from supervised_reptile.system.errors import FailedError, RefusedError

ATTEMPTS = 5  # in a row without a new byte
BACK_OFF = 1  # seconds after the first failure, doubled after each further one
LONGEST_WAIT = 60  # seconds, whatever the server asks for
TIMEOUT = 60  # seconds without a byte
BLOCK = 1 << 16  # bytes
CONNECTIONS = 6  # at once, at most
Result = TypeVar("Result")


class NetworkError(FailedError):
    """No server was reached, or it did not send all, in several attempts: later it may."""


class _TransientError(Exception):
    """Worth another attempt, after so many seconds if the server said so."""

    def __init__(self, message: str, wait: int = 0) -> None:
        super().__init__(message)
        self.wait = wait


def check_address(name: str, address: str) -> str:
    """Return an address as it was, or the file address of a local path.

    name: the setting, for the message. Raises RefusedError for what is neither.
    """
    if re.match("(https?|file)://", address):
        return address.rstrip("/") if address.startswith("file:") else address
    if not Path(address).exists():
        raise RefusedError(f"{name}={address} is no http, https or file address, and no such file")
    return Path(address).resolve().as_uri()


def local_path(address: str) -> Path | None:
    """The path of a file address, or None for others."""
    return Path(unquote(urlsplit(address).path)) if address.startswith("file:") else None


def file_name(address: str) -> str:
    """The last part of an address."""
    return unquote(urlsplit(address).path).rpartition("/")[2]


class Client:
    """Connections that are used again. A context manager."""

    def __init__(self) -> None:
        self._session = requests.Session()
        # An encoding would change lengths, and so what a byte range means.
        self._session.headers["Accept-Encoding"] = "identity"
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=CONNECTIONS)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def fetch(self, address: str, folder: Path) -> Path:
        """The path of the whole file at an address: a local one itself, or a copy in `folder`.

        A part that an earlier call left in `folder` is continued if the server still has the same
        file. Raises FailedError if it does not come (NetworkError if trying
        again may help), OSError if it cannot be written.
        """
        if path := local_path(address):
            if not path.is_file():
                raise FailedError(f"{path}: no such file")
            return path
        # Apart from a file of the same name from elsewhere.
        key = hashlib.sha256(address.encode()).hexdigest()[:12]
        path = folder / key / file_name(address)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            part = _Part(path)
            with tqdm(unit="B", unit_scale=True, disable=None, desc=path.name) as progress:
                self._persist(lambda: self._continue(address, part, progress), path.name, part)
            part.complete()
        return path

    def get_range(self, address: str, first: int, last: int) -> bytes:
        """The bytes first ... last of a file, both included, as HTTP counts them."""
        if path := local_path(address):
            return _read_range(path, first, last)
        name = file_name(address)
        return self._persist(lambda: self._get_range(address, first, last), name)

    def get(self, address: str) -> bytes:
        """All bytes of a small file."""
        if path := local_path(address):
            try:
                return path.read_bytes()
            except OSError as error:
                raise FailedError(f"{path}: {error.strerror}") from None

        def attempt() -> bytes:
            with self._request(address, {}) as response:
                return response.content

        return self._persist(attempt, file_name(address))

    def _persist(
        self, attempt: Callable[[], Result], name: str, part: "_Part | None" = None
    ) -> Result:
        """The result of the first attempt that succeeds. Bytes that came are a new beginning."""
        failures, most = 0, part.size if part else 0
        while True:
            try:
                return attempt()
            except _TransientError as error:
                if part and part.size > most:
                    failures, most = 0, part.size
                failures += 1
                if failures == ATTEMPTS:
                    raise NetworkError(f"{name}: {error} ({ATTEMPTS} attempts)") from None
                wait = min(max(BACK_OFF * 2 ** (failures - 1), error.wait), LONGEST_WAIT)
                tqdm.write(f"{name}: {error}; trying again in {wait:g} s", file=sys.stderr)
                time.sleep(wait)

    @contextlib.contextmanager
    def _request(
        self, address: str, headers: Mapping[str, str], accept: Container[int] = (200,)
    ) -> Iterator[requests.Response]:
        """A response whose status is accepted. Raises _TransientError or FailedError."""
        try:
            with self._session.get(
                address, headers=headers, stream=True, timeout=TIMEOUT
            ) as response:
                _check_status(response, accept)
                yield response
        except requests.exceptions.SSLError as error:
            raise FailedError(f"{file_name(address)}: {_reason(error)}") from None
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
            urllib3.exceptions.HTTPError,
        ) as error:
            raise _TransientError(_reason(error)) from None
        except requests.RequestException as error:
            raise FailedError(f"{file_name(address)}: {error}") from None

    def _continue(self, address: str, part: "_Part", progress: tqdm) -> None:
        """Receive what is missing of a part, or all of it if the server has no ranges."""
        have = part.size
        headers: dict[str, str] = {}
        if have and part.validator:
            headers = {"Range": f"bytes={have}-", "If-Range": part.validator}
        with self._request(address, headers, accept=(200, 206, 416)) as response:
            if response.status_code == 416:
                if _content_range(response)[1] == have:
                    return
                part.clear("")
                raise _TransientError("the server has another file now")
            total = int(response.headers.get("Content-Length", -1))
            if response.status_code == 206:
                start, total = _content_range(response)
                if start != have:
                    part.clear("")
                    raise _TransientError("the server sent another range than asked for")
            else:
                part.clear(_validator(response))
            progress.reset(total if total >= 0 else None)
            progress.update(part.size)
            response.raw.enforce_content_length = False  # see the check below
            with part.path.open("ab") as file:
                while block := response.raw.read1(BLOCK):
                    file.write(block)
                    file.flush()  # a killed fetch keeps all that came
                    progress.update(len(block))
        if total >= 0 and part.size != total:
            raise _TransientError(f"the connection ended after {part.size} of {total} bytes")

    def _get_range(self, address: str, first: int, last: int) -> bytes:
        headers = {"Range": f"bytes={first}-{last}"}
        with self._request(address, headers, accept=(200, 206)) as response:
            if response.status_code == 200:
                raise FailedError(f"{address}: this server does not serve byte ranges")
            content = response.content
            if _content_range(response)[0] != first or len(content) != last - first + 1:
                raise _TransientError(f"other bytes than {first}-{last} came")
            return content


class _Part:
    """The beginning of a file that is being received, and what tells the server which file."""

    def __init__(self, whole: Path) -> None:
        self._whole = whole
        self.path = whole.with_name(f"{whole.name}.part")
        self._validator = whole.with_name(f"{whole.name}.etag")

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def validator(self) -> str:
        """The ETag or date of the file that the part is of, "" if unknown."""
        return self._validator.read_text() if self._validator.exists() else ""

    def clear(self, validator: str) -> None:
        """Begin anew. The part is emptied first, so that it never goes with a wrong validator."""
        self.path.write_bytes(b"")
        self._validator.write_text(validator)

    def complete(self) -> None:
        """Give the file its name."""
        self._validator.unlink(missing_ok=True)
        self.path.rename(self._whole)


def _check_status(response: requests.Response, accept: Container[int]) -> None:
    status = response.status_code
    if status in accept:
        return
    message = f"HTTP status {status} {response.reason}"
    if status in (408, 429) or status >= 500:
        wait = response.headers.get("Retry-After", "")
        raise _TransientError(message, int(wait) if wait.isdecimal() else 0)
    raise FailedError(f"{file_name(response.url)}: {message}")


def _validator(response: requests.Response) -> str:
    """What If-Range may hold: a strong ETag, else the date of the last change, else nothing."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _content_range(response: requests.Response) -> tuple[int, int]:
    """First byte and length of the whole file, -1 where the server does not say."""
    text = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", text)
    return (int(match[1] or -1), int(match[2] or -1)) if match else (-1, -1)


def _reason(error: BaseException) -> str:
    """What a person understands of the errors of requests and urllib3, nested in one another."""
    inner: BaseException | None = error
    while inner:
        error = inner
        causes = (getattr(error, "reason", None), *error.args)
        inner = next((cause for cause in causes if isinstance(cause, Exception)), None)
    # urllib3 counts as timeouts what never connected, too, which says why.
    never_connected = isinstance(error, urllib3.exceptions.NewConnectionError)
    if isinstance(error, (urllib3.exceptions.TimeoutError, TimeoutError)) and not never_connected:
        return "timed out"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection was cut"
    return re.sub(r"^<?HTTPS?Connection.*?\)>?: ", "", str(error)) or repr(error)


def _read_range(path: Path, first: int, last: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(first)
            content = file.read(last - first + 1)
    except OSError as error:
        raise FailedError(f"{path}: {error.strerror}") from None
    if len(content) != last - first + 1:
        raise FailedError(f"{path} ends before byte {last}: it is not the whole archive")
    return content
