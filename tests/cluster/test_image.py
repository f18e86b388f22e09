"""The image by itself: what each role's pod needs of it, under the restricted pod security."""

from textwrap import dedent

import pytest
from harness import kubectl, pods
from harness.namespaces import Namespace


@pytest.mark.parametrize(
    "module",
    [
        "disco_engine.coordinator",
        "disco_engine.partition",
        "disco_engine.worker",
        "disco_engine.prepare",
        "disco_operator",
    ],
)
def test_every_role_starts_without_a_writable_root(
    bare_namespace: Namespace, api: kubectl.Api, image: str, module: str
) -> None:
    code = f"""import sys; sys.argv = ["{module}", "--help"]
import runpy; runpy.run_module("{module}", run_name="__main__")"""

    printed = pods.run(api, bare_namespace.name, "role", pods.spec(image, code))

    assert "usage" in printed.lower()


def test_the_image_has_no_root_no_build_tools_and_a_place_for_job_code(
    bare_namespace: Namespace, api: kubectl.Api, image: str
) -> None:
    code = dedent(
        """\
        import os, shutil
        assert (os.getuid(), os.getgid(), os.getcwd()) == (65532, 65532, "/job/code")
        assert not os.access("/job/code", os.W_OK)
        assert not [tool for tool in ("gcc", "cc", "make", "ld", "git") if shutil.which(tool)]
        import pwd; print(pwd.getpwuid(os.getuid()).pw_name, os.path.expanduser("~"))
        """
    )

    printed = pods.run(api, bare_namespace.name, "plain", pods.spec(image, code))

    assert printed.split() == ["disco", "/tmp"]


def test_pip_installs_into_a_folder_of_the_pod(
    bare_namespace: Namespace, api: kubectl.Api, image: str
) -> None:
    code = dedent(
        """\
        import subprocess, sys, zipfile
        with zipfile.ZipFile("/tmp/greeting-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("greeting.py", "text = 'hello'")
            for name, lines in {
                "METADATA": ["Metadata-Version: 2.1", "Name: greeting", "Version: 1.0"],
                "WHEEL": ["Wheel-Version: 1.0", "Root-Is-Purelib: true", "Tag: py3-none-any"],
                "RECORD": [],
            }.items():
                wheel.writestr(f"greeting-1.0.dist-info/{name}", "\\n".join([*lines, ""]))
        pip = [sys.executable, "-P", "-m", "pip", "install", "--quiet", "--no-index", "--target"]
        subprocess.run([*pip, "/tmp/packages", "/tmp/greeting-1.0-py3-none-any.whl"], check=True)
        sys.path.append("/tmp/packages")
        import greeting; print(greeting.text)
        """
    )

    printed = pods.run(api, bare_namespace.name, "pip", pods.spec(image, code))

    assert printed.strip() == "hello"


def test_a_whole_job_runs_in_one_pod(
    bare_namespace: Namespace, api: kubectl.Api, image: str
) -> None:
    code = dedent(
        """\
        import subprocess
        open("/tmp/text.txt", "w").write("to be or not to be\\n")
        open("/tmp/count.py", "w").write('''
        from disco import Job
        class Count(Job):
            @staticmethod
            def map(line, params):
                for word in line.split():
                    yield word.decode(), 1
            @staticmethod
            def reduce(pairs, params):
                totals = {}
                for word, one in pairs:
                    totals[word] = totals.get(word, 0) + one
                return totals.items()
        ''')
        command = ["disco", "run", "--workers", "1", "count.py", "text.txt"]
        subprocess.run(command, cwd="/tmp", check=True)
        """
    )

    printed = pods.run(api, bare_namespace.name, "whole", pods.spec(image, code))

    assert dict(line.split("\t") for line in printed.splitlines() if "\t" in line) == {
        "to": "2",
        "be": "2",
        "or": "1",
        "not": "1",
    }
