# A packed classifier and the engine in C, in an empty image: 0.2 MB and the classifier.
#
#   pocketrnn pack languages -o classifier.prnn --arithmetic int8
#   docker build -f examples/docker/static.Dockerfile -t languages .
#   echo "Où est la gare ?" | docker run --rm -i --network none --read-only languages
#
# The context is the root of this repository, where classifier.prnn lies.
FROM debian:trixie-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc make musl-tools
COPY runtime/native /native
RUN make -C /native static CC=musl-gcc OUT=/pocketrnn-classify

FROM scratch
COPY --from=build /pocketrnn-classify /pocketrnn-classify
COPY classifier.prnn /classifier.prnn
USER 65534:65534
ENTRYPOINT ["/pocketrnn-classify"]
CMD ["/classifier.prnn"]
