package ptx

import (
	"strings"

	"github.com/ianlancetaylor/demangle"
)

// functionName is a function's name as a programmer writes it, from that of the object file. nvcc puts static
// functions of a file into a namespace of its own making, which is left out.
func functionName(name string) string {
	name = demangle.Filter(name, demangle.NoParams, demangle.NoTemplateParams)
	if strings.HasPrefix(name, "_INTERNAL_") {
		if _, rest, ok := strings.Cut(name, "::"); ok {
			return rest
		}
	}
	return name
}
