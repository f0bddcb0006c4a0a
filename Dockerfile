# The project with its environment, for a CPU or a GPU of NVIDIA:
#
#     docker build -t sentiment .
#     docker run --rm -it sentiment                                        # make run
#     docker run --rm -it sentiment make test
#     docker run --rm -it --gpus all -v "$PWD/downloads:/home/user/sentiment/downloads" sentiment make imdb
#
# The builds of PyTorch that the package index gives for Linux on x86-64 bring CUDA along. A smaller image for the CPU
# alone: --build-arg PIP_EXTRA_INDEX_URL=..., the address of the builds without CUDA on PyTorch's page "Get Started".
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}
ARG PIP_EXTRA_INDEX_URL=
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --shell /bin/bash user

# hadolint ignore=DL3066
USER user
WORKDIR /home/user/sentiment

# The environment before the code, so that it is built again only for other requirements.
COPY --chown=user Makefile requirements.txt versions.yaml ./
RUN PIP_NO_CACHE_DIR=1 make .venv/bin/.run PYTHON=python3

COPY --chown=user . .
RUN touch .venv/bin/.run \
    && { git rev-parse --verify --quiet HEAD > /dev/null || { git init --quiet && git add . \
    && git -c user.name=user -c user.email=user@localhost commit --quiet --message Start; }; }

CMD ["make", "run"]
