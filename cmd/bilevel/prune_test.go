package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// What can never work ends with one sentence that names the setting, before anything is trained.
func TestPruneRefuses(t *testing.T) {
	inNewFolder(t)
	for words, says := range map[string]string{
		"prune run --method bop":               `unknown method "bop"`,
		"prune run --keep 2":                   "keep is 2: wants the part that is kept, above 0 and at most 1",
		"prune run --keep 0":                   "--keep 0: wants a positive number",
		"prune run --scope rows":               `scope is "rows"`,
		"prune run --model cnn":                `unknown model "cnn"`,
		"prune run --method imp --part 1":      "part is 1",
		"prune run --method snip --from x":     "begins with the start values",
		"prune run now":                        "now",
		"prune export --model x":               "wants --model FILE",
		"prune export --model x --out net.npz": "that ends with .onnx",
		"prune runs":                           `unknown command "runs"`,
	} {
		r := bilevel(words)
		require.Equal(t, exitUsage, r.code, words)
		require.Contains(t, r.stderr, says, words)
	}
	r := bilevel("prune export --model none.safetensors --out net.onnx")
	require.Equal(t, exitEnvironment, r.code)
	require.Contains(t, r.stderr, "none.safetensors")
}

// check prune prints a table, and one line of JSON on request.
func TestCheckPrune(t *testing.T) {
	inNewFolder(t)
	r := bilevel("check prune --json --seed 3")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Contains(t, r.stderr, "norm ratio")
	var checked struct {
		Rows []struct {
			Row string `json:"row"`
		} `json:"rows"`
	}
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &checked))
	require.Len(t, checked.Rows, 75)
	require.Equal(t, "dense", checked.Rows[0].Row)
}
