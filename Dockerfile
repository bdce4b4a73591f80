# The images of Quorate: `docker build --target quorate .` and `docker build --target quorate-operator .`
#
# Every step is a script of scripts/, and scripts/image.sh runs the same scripts on a machine without docker, reading user
# and entry point of an image from here.

FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends clang libclang-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN scripts/rocksdb.sh
RUN scripts/image/build.sh release

FROM build AS quorate-root
RUN scripts/image/assemble.sh quorate release /image

FROM build AS quorate-operator-root
RUN scripts/image/assemble.sh quorate-operator release /image

FROM scratch AS quorate
COPY --from=quorate-root /image/ /
USER 65532:65532
ENTRYPOINT ["/usr/bin/quorate"]

FROM scratch AS quorate-operator
COPY --from=quorate-operator-root /image/ /
USER 65532:65532
ENTRYPOINT ["/usr/bin/quorate-operator"]
