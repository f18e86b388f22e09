# ruff: noqa: F821, RUF012 - functions of jobs may use names that nobody imports
# mypy: ignore-errors
"""Classic jobs, and jobs with workers of their own, whose records tell what their tasks saw."""

from functools import partial

from disco.job import Job, SimpleJob
from disco.worker import Params, Worker
from disco.worker.classic import worker as classic
from disco.worker.classic.func import default_partition, nop_map, sum_combiner, sum_reduce

RAW = ["raw://a_1", "raw://b_2", "raw://c_3", "raw://a_4"]


def letters(stream, size, url):
    """Read an entry per letter, so that an input has several."""
    for number, letter in enumerate(stream.read()):
        yield f"{letter}_{number}"


# --- classic jobs ------------------------------------------------------------------------------


class Initialised(Job):
    """Functions that are methods, take entries away, and keep things in params."""

    map_reader = staticmethod(letters)
    params = {"factor": 10, "seen": []}
    partitions = 3
    scheduler = {"max_cores": 4, "force_local": True, "force_remote": False}

    def map_init(self, entries, params):
        params["first"] = next(entries)

    def map(self, entry, params):
        params["seen"].append(entry)
        yield entry.split("_")  # a list of two is a pair
        yield "params", (params["first"], list(params["seen"]), params["factor"])

    def partition(self, key, partitions, params):
        return "2" if key == "params" else 0.5

    def reduce_init(self, pairs, params):
        params["taken"] = next(pairs)

    def reduce(self, pairs, out, params):
        out.add("partition", (this_partition(), Task.group_label))
        out.add("taken", params["taken"][0])
        for pair in pairs:
            out.add(*pair)


class Names(Job):
    """Names that nobody imports."""

    @staticmethod
    def map(entry, params):
        assert re.match("a", "abc")
        assert math.floor(2.5) == 2
        assert time.time() > 0
        assert os.sep == "/"
        assert sys.version_info[0] == 3
        assert util.kvify(1) == (1, None)
        assert bytes_to_str(b"x") == "x"
        assert str_to_bytes("x") == b"x"
        assert pickle_loads(pickle_dumps([1])) == [1]
        assert issubclass(CommError, DataError)
        assert Params(a=1).a == 1
        assert worker.active_task is not None
        assert noop(1) is None
        assert all(map(callable, (chain_reader, nop_map, nop_reduce, sum_combiner, sum_reduce)))
        assert all(map(callable, (make_range_partition, default_partition, gzip_reader)))
        assert all(map(callable, (re_reader, get, put, external, task_input_stream)))
        yield "task", (Task.jobname == this_name(), Task.host == this_host(), Task.stage)
        yield "master", bool(this_master())
        yield "inputs", list(util.flatten(this_inputs()))
        yield "partition", this_partition()
        yield "hashes", [default_partition(key, 1000, params) for key in ("a", b"a", 1, (1, "x"))]


class Combined(Job):
    """A combiner with a buffer per partition, which yields now and then and at the end."""

    partitions = 2

    @staticmethod
    def map(entry, params):
        return [(int(number), 1) for number in entry.split()]

    @staticmethod
    def partition(key, partitions, params):
        return key % partitions

    @staticmethod
    def combiner(key, value, buf, done, params):
        if done:
            return [("done", (key, value, sorted(buf)))]
        buf[key] = value
        if key == 7:
            return iter([("seven", 7)])
        return None


class Sorted(Job):
    sort = True
    sort_buffer_size = "5%"

    @staticmethod
    def map(entry, params):
        for word in entry.split():
            yield word.encode(), {"value": word}

    @staticmethod
    def reduce(pairs, params):
        for key, values in util.kvgroup(pairs):
            yield key, len(list(values))


class Summed(Job):
    combiner = staticmethod(sum_combiner)
    reduce = staticmethod(sum_reduce)
    save = False

    @staticmethod
    def map(entry, params):
        return ((word, 1) for word in entry.split())


def mapped(extra, entry, params):
    return [(entry, extra)]


def reduced(extra, pairs, out, params):
    for key, value in pairs:
        out.add(key, (value, extra))


class Partials(Job):
    """Functions with some of their arguments; the reduce has three left."""

    map = staticmethod(partial(mapped, 1))
    reduce = staticmethod(partial(reduced, 2))


def keeps(stream, size, url):
    return stream


def replaces(stream, size, url, params):
    return (f"{params.mark}{line}" for line in stream), "size", url + params.mark


def shows(stream, size, url):
    for line in stream:
        yield line, (size, url)


class Late:
    """An output that keeps what it gets until it is closed."""

    def __init__(self, stream, mark):
        self.stream, self.mark, self.kept = stream, mark, []

    def add(self, key, value):
        self.kept.append((f"{key}{self.mark}", value))

    def close(self):
        for pair in self.kept:
            self.stream.add(*pair)


def late(stream, size, url, params):
    return Late(stream, params.mark), url


class Chained(Job):
    """Streams of three and four arguments, that return streams, pairs and triples."""

    params = Params(mark="!")
    map = staticmethod(nop_map)
    map_input_stream = (classic.func.map_input_stream, keeps, replaces)
    map_reader = staticmethod(shows)
    map_output_stream = (classic.func.map_output_stream, late, late)


class Unlabelled(Job):
    """A map without a reduce and without partitions."""

    partitions = None

    @staticmethod
    def map(entry, params):
        return [(entry, None)]


class Failing(Job):
    """Functions that do what ends a job."""

    max_attempts = 1
    limit_messages = True

    @staticmethod
    def map(entry, params):
        if entry == "none":
            return
        from disco.worker import throttling

        throttling.PAUSE_S = 0.0  # which keep it below the limit on a machine that is slow itself
        while entry == "talkative":
            print("I say!")
        raise ValueError("no such entry")


class Sleeping(Job):
    @staticmethod
    def map(entry, params):
        time.sleep(600)
        return []


class Types(Job):
    """What an entry is."""

    @staticmethod
    def map(entry, params):
        yield type(entry).__name__, entry


class Copied(Job):
    map = staticmethod(nop_map)


class Streams(Job):
    @staticmethod
    def map_reader(stream, size, url):
        import disco.compat

        yield isinstance(stream, disco.compat.file)

    @staticmethod
    def map(entry, params):
        yield "is a file", entry


class Replicated(Job):
    """A reader that one of the replicas breaks."""

    @staticmethod
    def map_reader(stream, size, url):
        for number, line in enumerate(stream):
            if number == 2 and url.endswith("broken"):
                raise DataError("told to break", url)
            yield line

    @staticmethod
    def map(entry, params):
        yield entry, 1


# --- workers of a program's own ----------------------------------------------------------------


class Pair(SimpleJob):
    partitions = 2

    @staticmethod
    def map(worker, task, **jobargs):
        for line in worker.input(task):
            worker.output(task, len(line) % 2).file.add(line, jobargs["extra"])

    @staticmethod
    def reduce(worker, task, **jobargs):
        labels = sorted(worker.labelled_input_map(task, worker.get_inputs()))
        for key, value in worker.input(task, merged=True):
            worker.output(task).file.append((key, (value, task.group_label, labels)))


class Packing(classic.Worker):
    """A worker that overrides what it may."""

    def jobdict(self, job, **jobargs):
        return {**super().jobdict(job, **jobargs), "prefix": "renamed"}

    def jobenvs(self, job, **jobargs):
        envs = super().jobenvs(job, **jobargs)
        return {**envs, "PACKED": "yes", "PYTHONPATH": "lib/more:" + envs["PYTHONPATH"]}

    def jobzip(self, job, **jobargs):
        archive = super().jobzip(job, **jobargs)
        archive.writestr("lib/added.txt", "added")
        archive.writestr("lib/more/added_module.py", "value = 3")
        return archive

    def run(self, task, job, **jobargs):
        with open("lib/added.txt") as file:
            self.text = file.read()
        self.send("MSG", "running")
        super().run(task, job, **jobargs)

    def end(self, task, job, **jobargs):
        super().end(task, job, **jobargs)
        assert self.text == "added"


class Packed(Job):
    Worker = Packing
    required_files = {"given.txt": b"given"}

    @staticmethod
    def map(entry, params):
        import added_module

        with open("given.txt") as file:
            yield os.environ["PACKED"], (file.read(), added_module.value)


class Planning(Worker):
    """A worker that says itself which stages there are."""

    def jobdict(self, job, **jobargs):
        stages = [("first", "split"), ("last", "group_all")]
        return {**super().jobdict(job, **jobargs), "pipeline": stages}


class Planned(Job):
    """Its functions get the job, which has the worker."""

    def __init__(self, **options):
        super().__init__(worker=Planning(), **options)

    @staticmethod
    def first(task, job, **jobargs):
        for line in job.worker.input(task):
            job.worker.output(task, 1).file.add(line, math.floor(2.5))

    @staticmethod
    def last(task, job, **jobargs):
        out = job.worker.output(task)
        for record in job.worker.input(task):
            out.file.append(record)


def is_same_hash(hashes):
    """Return whether this process has the same hashes as a task."""
    return hashes == [default_partition(key, 1000, None) for key in ("a", b"a", 1, (1, "x"))]
