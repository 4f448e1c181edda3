# For hosts with NVIDIA GPUs: the driver and nvidia-container-toolkit are the host's, CUDA's libraries
# come with the Python packages.
#
#   docker build -t kerascnn .
#   docker run --rm --gpus all -v "$PWD":/work kerascnn doctor
#   docker run --rm --gpus all -v "$PWD":/work kerascnn train mobilenet_v2 --data photos --out runs/photos
#
# `--build-arg GPU=jax` takes JAX's CUDA, `--build-arg GPU=0` none.
FROM python:3.12-slim

ARG GPU=1
RUN apt-get update \
 && apt-get install -y --no-install-recommends make libgl1 libglib2.0-0 \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/kerascnn
COPY . .
RUN make setup GPU=${GPU} && rm -rf /root/.cache
ENV PATH=/opt/kerascnn/.venv/bin:$PATH
WORKDIR /work
ENTRYPOINT ["kerascnn"]
CMD ["--help"]
