package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The committed assembly is what the generators write.
func TestCommittedFilesAreFresh(t *testing.T) {
	for _, f := range families {
		for name, want := range f.files() {
			have, err := os.ReadFile(filepath.Join("..", name))
			if err != nil {
				t.Error(err)
				continue
			}
			if !bytes.Equal(have, want) {
				t.Errorf("%s is stale: run go run . %s\n%s", name, f.name, firstDifference(have, want))
			}
		}
	}
}

// firstDifference shows the first line that differs.
func firstDifference(have, want []byte) string {
	a, b := bytes.Split(have, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range min(len(a), len(b)) {
		if !bytes.Equal(a[i], b[i]) {
			return "- " + string(a[i]) + "\n+ " + string(b[i])
		}
	}
	return "one is longer"
}
