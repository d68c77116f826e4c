# The CPU environment of gcrm, at the versions of requirements.lock.
#
#     docker build -t gcrm .
#     docker run --rm -v "$PWD/results:/gcrm/results" gcrm snakemake --cores all
#
# torch comes as its CPU build. For GPUs, build with --build-arg TORCH_INDEX=https://pypi.org/simple
# and run with --gpus all.
FROM python:3.11-slim

# git: provenance names the commit. g++: DeepSpeed and torch.compile look for a compiler.
RUN apt-get update \
    && apt-get install -y --no-install-recommends git g++ \
    && rm -rf /var/lib/apt/lists/*

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /gcrm
COPY requirements.lock .
RUN pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -r requirements.lock
COPY . .
RUN pip install --no-cache-dir --no-deps -e .
CMD ["snakemake", "--cores", "all"]
