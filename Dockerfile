# madkit, in an image for CPUs or for NVIDIA's cards:
#   docker build -t madkit --build-arg TORCH_INDEX=<an index of torch builds without CUDA> .
#   docker build -t madkit:cuda .
#   docker run --rm -v "$PWD:/work" madkit study --models tiny-llama --datasets hemisphere
#   docker run --rm --gpus all -v "$PWD:/work" madkit:cuda fit --config recipes/llama.yaml --data.dataset addition
FROM python:3.11-slim

# An index with another build of torch than the usual one, which carries CUDA: that needs none of the image, only the driver
# of the host, and is ten times the size.
ARG TORCH_INDEX=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

# The largest dependency before the source, so that a change of the source does not fetch it again.
COPY constraints.txt /madkit/
RUN pip install --constraint /madkit/constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch
COPY . /madkit
RUN pip install --constraint /madkit/constraints.txt "/madkit[gguf,faiss]" && rm -rf /madkit

# Not root: run folders belong to whoever started the container (`--user $(id -u)`).
RUN useradd --create-home madkit
USER madkit
WORKDIR /work
ENTRYPOINT ["madkit"]
CMD ["--help"]
