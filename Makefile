# CUDA. All else needs nothing but Go: go build ./..., go test ./...
# The headers of CUDA 12 come from a toolkit where CUDA_INCLUDE names its folder, else from the pinned wheel.

CUDA_INCLUDE ?= $(shell scripts/cuda-tools headers)
cuda = CGO_ENABLED=1 CGO_CFLAGS="-I$(CUDA_INCLUDE) $(CGO_CFLAGS)" go
PACKAGES = ./device/cuda/... ./device/open
# What takes minutes under the race detector, and has one goroutine anyway.
LONG = Conformance|InManyOrders|MissingEdges|KeepsTheCheckpoint
# What the simulator does with other orders and texts: no call of the driver differs from those of the other tests.
SAME = ConformanceOtherwise|InManyOrders|MissingEdges|Epilogues|Passes|SampledEstimate

.PHONY: build-cuda build-cuda-arm64 test-cuda test-gpu report-gpu card-kit

# bilevel with both devices; it starts with and without a driver.
build-cuda:
	$(cuda) build -tags cuda -o bilevel ./cmd/bilevel

# The same for arm64 (GH200), on a machine with Debian's gcc-aarch64-linux-gnu or a compiler like it. Tried so far: it
# builds, and under qemu-aarch64 it runs on a simulated card; no GH200 has run it.
build-cuda-arm64:
	GOARCH=arm64 CC=aarch64-linux-gnu-gcc $(cuda) build -tags cuda -o bilevel-arm64 ./cmd/bilevel

# The way to a card (Go, cgo, gorgonia.org/cu, the driver's entry points), executed on simulated cards.
test-cuda:
	$(cuda) vet -tags cuda ./...
	$(cuda) test -tags cuda -skip '$(SAME)' $(PACKAGES)
	$(cuda) test -tags cuda -run CUDA ./cmd/bilevel
	$(cuda) test -tags cuda -race -short -skip '$(LONG)' ./device/cuda ./device/cuda/sim \
		./device/cuda/shim ./device/cuda/real/...

# On the cards of this machine, one package after the other because a test fills the memory of a card, and a report on
# the first card; it fails where there is none.
test-gpu:
	REQUIRE_GPU=1 $(cuda) test -tags cuda -count=1 -p 1 -timeout 20m -run '/card$$' ./device/cuda/real
	REQUIRE_GPU=1 $(cuda) test -tags cuda -count=1 -p 1 -timeout 20m ./device/open
	REQUIRE_GPU=1 $(cuda) test -tags cuda -count=1 -p 1 -timeout 20m -run CUDA ./cmd/bilevel
	$(MAKE) report-gpu

# One archive for a machine with a card but without Go and without a network: card-kit/run does the whole visit.
card-kit:
	CGO_CFLAGS="-I$(CUDA_INCLUDE) $(CGO_CFLAGS)" scripts/card-kit

# Every kernel measured; results/card/report.json is what to send back.
report-gpu: build-cuda
	./bilevel doctor --device cuda --out results/card
