# docker build --tag msg-gan .
# docker run --rm --gpus all --shm-size 1g --volume "$PWD:/data" msg-gan \
#     train.py flowers256 --data /data/flowers --result-dir /data/results --resume auto
# docker run --rm --entrypoint make msg-gan demo
FROM python:3.12-slim

# A compiler for torch.compile and Triton, and make for the demo.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ make && rm -rf /var/lib/apt/lists/*

# What the project needs comes first, so that a change of its code does not install everything again.
WORKDIR /msg-gan
COPY pyproject.toml constraints.txt ./
RUN python -m venv .venv && \
    .venv/bin/python -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]))' \
      > requirements.txt && \
    .venv/bin/pip install --no-cache-dir --requirement requirements.txt --constraint constraints.txt

COPY . .
RUN .venv/bin/pip install --no-cache-dir --editable '.[datasets,export,demo,hub]' --constraint constraints.txt && \
    touch .venv/.installed

ENV PATH=/msg-gan/.venv/bin:$PATH
ENTRYPOINT ["python"]
CMD ["train.py", "--help"]
