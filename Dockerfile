# swaypoint on a CPU. Not built by the tests.
#   docker build -t swaypoint .
#   docker run --rm -v "$PWD:/data" swaypoint audit table.csv --label outcome
#   docker run --rm -it -v "$PWD:/data" -p 8000:8000 swaypoint review table-audit --host 0.0.0.0 --port 8000
FROM python:3.11-slim AS build
RUN pip install --no-cache-dir build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m build --wheel --outdir /dist

FROM python:3.11-slim
COPY constraints.txt /tmp/
COPY --from=build /dist /tmp/dist
RUN pip install --no-cache-dir -c /tmp/constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu \
    "$(ls /tmp/dist/*.whl)[all]" \
    && rm -r /tmp/dist /tmp/constraints.txt \
    && useradd --create-home reviewer \
    && mkdir /data \
    && chown reviewer /data
USER reviewer
WORKDIR /data
EXPOSE 8000
ENTRYPOINT ["swaypoint"]
CMD ["--help"]
