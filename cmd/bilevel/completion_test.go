package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A shell is offered the words that a flag or an argument takes.
func TestCompletion(t *testing.T) {
	for line, want := range map[string][]string{
		"train --schedule c": {"constant", "cosine", "cyclic"},
		"clean --algo s": {"saba", "sbfw", "shine", "sigd", "sign-unrolling", "soba", "srba", "stable", "stocbio",
			"sustain", "svrb"},
		"clean --weights t": {"table"},
		"algorithms t":      {"ttsa"},
		"check q":           {"quadratic"},
		"train --data fa":   {"fashion-mnist"},
		"predict --data om": {"omniglot"},
		"data get cifar":    {"cifar10", "cifar100"},
		"data verify ij":    {"ijcnn1"},
		"tr": {
			"train\tTrain a classifier: softmax regression, a multilayer perceptron or a convolutional network"},
		"train --checkpoint-e": {"--checkpoint-every\ttime between two checkpoints"},
	} {
		words := strings.Split(line, " ")
		r := command(t.Context(), append([]string{"__complete"}, words...))
		require.Equal(t, exitOK, r.code, r.stderr)
		var offered []string
		for _, word := range strings.Split(strings.TrimSpace(r.stdout), "\n") {
			if strings.HasPrefix(word, words[len(words)-1]) { // as the shell does
				offered = append(offered, word)
			}
		}
		require.ElementsMatch(t, want, offered, line)
	}
	require.Contains(t, bilevel("completion bash").stdout, "__start_bilevel")
	refused(t, bilevel("completion tcsh"), exitUsage, `unknown command "tcsh"`)
}
