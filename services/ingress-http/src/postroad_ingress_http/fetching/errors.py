"""Why a file is not fetched; the texts are for the client that named its URL."""


class FileFetchError(Exception):
    """The file is not there."""


class UrlRefusedError(FileFetchError):
    """This URL, or one that it led to, may not be fetched."""


class UnreachableError(FileFetchError):
    """The URL has not given a file, or not in time."""


class FileTooLargeError(FileFetchError):
    """The file, or the files of a mail together, have more octets than a mail may have."""


class NoRoomError(FileFetchError):
    """It cannot be fetched now; `busy_account` says whether the account itself is the reason."""

    def __init__(self, message: str, *, busy_account: bool) -> None:
        super().__init__(message)
        self.busy_account = busy_account
