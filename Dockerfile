# docker build -t localhost/stowage:0.1.0 .
#
# glibc, because memory and speed were measured with it; only the program and the libraries that it is linked with go into
# the image, so there is no shell and no package in it.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /stowage
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/stowage/target \
    cargo build --locked --profile dist --bin stowage && .ci/image-root target/dist/stowage /image

FROM scratch
COPY --from=build /image /
USER 65532:65532
ENTRYPOINT ["/usr/bin/stowage"]
CMD ["serve"]
