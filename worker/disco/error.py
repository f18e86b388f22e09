"""What goes wrong for an author: the errors that Disco's Python library raises.

DiscoError
├── JobError            a job failed, or was killed
├── UnsupportedError    Disco has it, and here it is not there (also a NotImplementedError)
└── DataError           an input cannot be read: worth another attempt elsewhere
└── CommError       somebody on the network did not answer
"""


class DiscoError(Exception):
    """A job, a parameter or a name makes no sense; the message says which and what to do."""


class UnsupportedError(DiscoError, NotImplementedError):
    """Something that Disco's programs may ask for is not there; the message says what else is."""


class JobError(DiscoError):
    """A job did not succeed.

    Attributes:
        job: The job (anything with a ``name``), or its name.
        message: Why: the user's traceback and the record included, if there was one.
    """

    def __init__(self, job: object, message: str) -> None:
        super().__init__(job, message)
        self.job = job
        self.message = message

    def __str__(self) -> str:
        return f"Job {getattr(self.job, 'name', self.job)} failed: {self.message}"


class DataError(DiscoError):
    """An input cannot be read; the engine tries another replica and another node.

    Attributes:
        msg: What is wrong.
        url: Of the input.
        code: A protocol's status, such as 404; None if there is none.
    """

    def __init__(self, msg: str, url: str, code: int | None = None) -> None:
        super().__init__(msg, url, code)
        self.msg = msg
        self.url = url
        self.code = code

    def __str__(self) -> str:
        code = "" if self.code is None else f" ({self.code})"
        return f"Unable to access resource ({self.url}): {self.msg}{code}"


class CommError(DataError):
    """Somebody on the network did not answer, or answered with an error."""
