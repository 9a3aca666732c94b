# target-outreach and nothing else: docker run target-outreach --version
FROM python:3.13-slim AS build
RUN pip install --no-cache-dir uv==0.9.5
WORKDIR /src
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY target_outreach target_outreach
# The versions of uv.lock, with what buckets need.
ENV UV_PROJECT_ENVIRONMENT=/opt/target-outreach UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never
RUN uv sync --frozen --no-dev --all-extras --no-editable

FROM python:3.13-slim
RUN pip uninstall --yes --root-user-action=ignore pip \
    && useradd --system --create-home --uid 10001 outreach
COPY --from=build /opt/target-outreach /opt/target-outreach
USER 10001
WORKDIR /home/outreach
ENTRYPOINT ["/opt/target-outreach/bin/target-outreach"]
