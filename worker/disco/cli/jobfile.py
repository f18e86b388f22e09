"""Finds the job that a user named: a Python file or a module is imported, the job taken out of it.

The user's code runs here, in the command line's own process, as it does in ``python file.py``: a
mistake in it is shown at once, before anything is started.
"""

import difflib
import importlib
import linecache
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from disco.importing import importing_a_job

if TYPE_CHECKING:
    from disco.job import Job

_EXPECTED = "a manifest (job.yaml), file.py[:attribute] or module:attribute"


class JobNotFoundError(Exception):
    """There is no such job, or its file cannot be imported; the message says what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReference:
    """Where a job is.

    Attributes:
        module: Name of the module.
        attribute: Its name there, dotted if it is inside a class; None: the only one.
        directory: Where the module is looked for first.
        file: The file that the user named; None: a module was named.
    """

    module: str
    attribute: str | None
    directory: Path
    file: Path | None = None

    @property
    def source(self) -> str:
        """What to call the module in a message."""
        return str(self.file) if self.file else f"module {self.module}"


def parse_reference(text: str, directory: Path) -> JobReference:
    """Return what "file.py[:attribute]" or "module:attribute" means.

    Args:
        text: What the user wrote.
        directory: Where modules are looked for first.

    Raises:
        JobNotFoundError: There is no such file, or it is neither of the two.
    """
    name, colon, attribute = text.partition(":")
    if not name:
        what = f"{text}: nothing is before the colon" if colon else "JOB is empty"
        raise JobNotFoundError(f"{what}; expected {_EXPECTED}")
    if colon and not attribute:
        raise JobNotFoundError(f"{text}: a name must follow the colon")
    if name.endswith(".py") or "/" in name:
        path = Path(name)
        if not path.exists():
            raise JobNotFoundError(f"there is no file {name}")
        real = path.resolve()  # Python, too, looks for modules beside what a link leads to
        if real.suffix != ".py":
            raise JobNotFoundError(f"{name}: a job is a .py file or a .yaml manifest")
        return JobReference(
            module=real.stem,
            attribute=attribute or None,
            directory=real.parent,
            file=path,
        )
    if not attribute:  # module.Class, as Disco's command took it
        name, _, attribute = name.rpartition(".")
    if not name or (not attribute.isidentifier() and not colon):
        raise JobNotFoundError(f"{text}: expected {_EXPECTED}")
    return JobReference(module=name, attribute=attribute, directory=directory)


def load_job(reference: JobReference) -> "Job":
    """Import the job and return it; raises as ``find_job`` does."""
    return find_job(reference)[1]


def find_job(reference: JobReference) -> tuple[str, "Job"]:
    """Import the job and return its name in the module, and itself; a class is instantiated.

    Raises:
        JobNotFoundError: The import fails, the attribute is missing or no job, or it is not clear
            which job is meant.
    """
    from disco.job import Job

    module = _imported(reference)
    name, found = (
        (reference.attribute, _attribute(module, reference))
        if reference.attribute is not None
        else _only_job(module, reference, Job)
    )
    if isinstance(found, type) and issubclass(found, Job):
        try:
            return name, found()
        except Exception as error:
            raise JobNotFoundError(
                f"{found.__name__}() of {reference.source} failed:\n{_users_traceback(error)}"
            ) from error
    if not isinstance(found, Job):
        raise JobNotFoundError(
            f"{name} of {reference.source} is not a job: expected a class derived"
            f" from disco.Job, or an object of one, found {_described(found)}"
        )
    return name, found


def _imported(reference: JobReference) -> ModuleType:
    if str(reference.directory) not in sys.path:
        sys.path.insert(0, str(reference.directory))
    if reference.file is not None and reference.module in sys.modules:
        raise JobNotFoundError(
            f"{reference.file}: there is a module named {reference.module} already, which"
            " functions of the job would find instead; rename the file"
        )
    try:
        with importing_a_job():
            module = importlib.import_module(reference.module)
    except ModuleNotFoundError as error:
        if error.name == reference.module and reference.file is None:
            raise JobNotFoundError(
                f"there is no module {reference.module}: looked in {reference.directory} and in"
                " Python's own path"
            ) from error
        raise JobNotFoundError(_import_failure(reference, error)) from error
    except SyntaxError as error:
        raise JobNotFoundError(_syntax_error(error)) from error
    except (Exception, SystemExit) as error:
        raise JobNotFoundError(_import_failure(reference, error)) from error
    return module


def _syntax_error(error: SyntaxError) -> str:
    lines = [f"{error.filename}:{error.lineno}: {error.msg}"]
    text = error.text or linecache.getline(error.filename or "", error.lineno or 0)
    if text.strip():
        indent = len(text) - len(text.lstrip())
        lines.append(f"    {text.strip()}")
        if error.offset:
            lines.append(f"    {' ' * (error.offset - 1 - indent)}^")
    return "\n".join(lines)


def _import_failure(reference: JobReference, error: BaseException) -> str:
    return f"{reference.source} cannot be imported:\n{_users_traceback(error)}"


def _users_traceback(error: BaseException) -> str:
    """Return the traceback without what lies between us and the user's first line."""
    told = traceback.TracebackException.from_exception(error)
    own = Path(__file__).resolve()
    frames = [
        frame
        for frame in told.stack
        if Path(frame.filename) != own
        and not frame.filename.startswith("<frozen importlib")
        and "/importlib/" not in frame.filename
    ]
    told.stack = traceback.StackSummary.from_list(frames)
    return "".join(told.format(chain=False)).rstrip()


def _attribute(module: ModuleType, reference: JobReference) -> Any:
    value: Any = module
    for name in (reference.attribute or "").split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            raise JobNotFoundError(_no_attribute(value, name, reference)) from None
    return value


def _no_attribute(owner: Any, name: str, reference: JobReference) -> str:
    where = reference.source if isinstance(owner, ModuleType) else owner.__name__
    public = [known for known in vars(owner) if not known.startswith("_")]
    close = difflib.get_close_matches(name, public, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else _jobs_hint(owner)
    return f"{where} has no attribute {name}; {hint}"


def _jobs_hint(owner: Any) -> str:
    from disco.job import Job

    jobs = list(_jobs_in(owner, Job))
    return f"its jobs are {', '.join(jobs)}" if jobs else "it has no jobs"


def _only_job(module: ModuleType, reference: JobReference, base: type) -> tuple[str, Any]:
    """Return name and value of the job that is meant if none is: ``job``, else the only one."""
    if isinstance(vars(module).get("job"), base):
        return "job", vars(module)["job"]
    jobs = dict(_candidates(module, base))
    if len(jobs) == 1:
        return next(iter(jobs.items()))
    if not jobs:
        raise JobNotFoundError(
            f"{reference.source} has no job: it needs a class derived from disco.Job"
        )
    raise JobNotFoundError(
        f"{reference.source} has several jobs: {', '.join(jobs)};"
        f" say which, for instance {reference.file or reference.module}:{next(iter(jobs))}"
    )


def _jobs_in(owner: Any, base: type) -> Iterator[str]:
    return (name for name, _ in _candidates(owner, base))


def _candidates(owner: Any, base: type) -> Iterator[tuple[str, Any]]:
    """Yield name and value of the jobs that *owner* itself defines: objects, else classes.

    A class that another of them is derived from is a base for others, not a job to run.
    """
    members = vars(owner)
    objects = [(name, value) for name, value in members.items() if isinstance(value, base)]
    classes = [
        (name, value)
        for name, value in members.items()
        if isinstance(value, type)
        and issubclass(value, base)
        and value.__module__ == getattr(owner, "__name__", None)
    ]
    leaves = [
        (name, value)
        for name, value in classes
        if not any(other is not value and issubclass(other, value) for _, other in classes)
    ]
    yield from objects or leaves


def _described(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"{type(value).__name__} {value!r:.60}"
