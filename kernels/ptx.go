package kernels

import (
	"embed"
	"fmt"
)

//go:generate ../scripts/cuda-tools build manifest.json

//go:embed ptx/*.ptx
var files embed.FS

// PTX is the compiled text of a module: what NVRTC 12.2 made of its source (manifest.json) for compute_80, PTX ISA 8.2,
// which drivers from 535 on take and compile for their card.
func PTX(module string) (string, error) {
	text, err := files.ReadFile("ptx/" + module + ".ptx")
	if err != nil {
		return "", fmt.Errorf("there is no module %q of CUDA kernels", module)
	}
	return string(text), nil
}
