# The server's image: one program, no shell, no package manager, a numeric user.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
RUN cargo build --release --locked --bin no502

# The C library of the same Debian release, and nothing that the program does not need.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/no502 /usr/local/bin/no502
USER 65532:65532
# 10250: the API server. 8080: probes and metrics.
EXPOSE 10250 8080
ENTRYPOINT ["/usr/local/bin/no502"]
CMD ["serve"]
