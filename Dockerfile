# One image for every role: operator, coordinator, partition service, worker. The pod says which:
# `python -P -m disco_engine.worker …`. Job code in the image goes to /job/code.
#
# The base is any Debian Python from 3.11 on; give a digest to pin it:
#   docker build --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:… .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS dependencies
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN apt-get update && apt-get install --yes --no-install-recommends binutils
# The environment shares the base's pip, which init containers and derived images use.
RUN python3 -m venv --without-pip --system-site-packages /opt/venv
COPY requirements-image.lock .
RUN python3 -m pip --python /opt/venv/bin/python install --no-compile --ignore-installed \
        --no-deps --require-hashes --requirement requirements-image.lock
# Out goes what no role uses. The Kubernetes client is two libraries in one distribution, 126 MB of
# which the operator needs the asyncio one's connections and configuration: no generated classes.
# botocore describes over 400 services; buckets need one, and four from which credentials come.
RUN cd /opt/venv/lib/python3*/site-packages \
    && find kubernetes -mindepth 1 -maxdepth 1 -type d ! -name aio -exec rm -r {} + \
    && find kubernetes/aio/client/api kubernetes/aio/client/models -type f ! -name __init__.py -delete \
    && echo '"""Only kubernetes.aio: the rest was left out of this image."""' > kubernetes/__init__.py \
    && find botocore/data -mindepth 1 -maxdepth 1 -type d \
        ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -r {} + \
    && find . -type d \( -name tests -o -name test \) -prune -exec rm -r {} + \
    && find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' \) -delete \
    && find . -type f -name '*.so*' -exec strip --strip-unneeded {} + \
    && echo /opt/disco > disco.pth
# The root file system of a pod is read-only, so nothing can compile itself on first use.
RUN /opt/venv/bin/python -m compileall -q -j 2 /opt/venv/lib

FROM dependencies AS project
WORKDIR /source
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY proto proto
COPY operator operator
COPY worker worker
RUN python3 -m pip wheel --no-deps --wheel-dir /wheel . \
    && /opt/venv/bin/python -m pip install --no-deps --target /opt/disco /wheel/*.whl

FROM ${PYTHON_IMAGE}
# Some Python images come without the standard library's bytecode; every slot would compile it anew.
RUN python3 -m compileall -q -x '/(test|tests|idlelib|lib2to3|tkinter|turtledemo|ensurepip|distutils|config-3[^/]*|site-packages|dist-packages)/' \
        "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && groupadd --gid 65532 disco \
    && useradd --uid 65532 --gid disco --no-log-init --no-create-home --home-dir /tmp --shell /usr/sbin/nologin disco \
    && mkdir -p /job/code
# In two layers: the dependencies change rarely.
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=project /opt/disco /opt/disco
ENV PATH=/opt/venv/bin:/opt/disco/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GRPC_VERBOSITY=ERROR
WORKDIR /job/code
USER 65532:65532
CMD ["disco", "--help"]
