package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every command of the pages in docs runs, in a folder with data in ./mine, as it stands there or on less data.
func TestCommandsOfTheDocs(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join("..", "..", "docs", "*.md"))
	require.NoError(t, err)
	require.NotEmpty(t, pages)
	command := regexp.MustCompile(`(?m)^    bilevel (.+)$`)
	link := regexp.MustCompile(`\]\(([a-z-]+\.md)\)`)
	x, y := rows(60)
	mask := make([]uint8, 60)
	for i := range 30 {
		mask[i] = 1
	}
	texts := map[string]string{}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		texts[page] = string(text)
		for _, to := range link.FindAllStringSubmatch(string(text), -1) {
			require.FileExists(t, filepath.Join(filepath.Dir(page), to[1]))
		}
	}
	t.Setenv(asCommand, "1") // for the processes that a table starts
	inNewFolder(t)
	page := texts[filepath.Join("..", "..", "docs", "table.md")]
	recipe := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(page)
	require.NotNil(t, recipe, "docs/table.md shows a recipe")
	writeFiles(t, ".", map[string][]byte{"study.yaml": []byte(recipe[1])})
	writeFiles(t, "mine", map[string][]byte{"train_x.npy": array(t, x, 60, 2), "train_y.npy": array(t, y, 60)})
	writeFiles(t, ".", map[string][]byte{"looked-at.npy": array(t, mask, 60)})
	table := "a,b,kind\n"
	for i, class := range y {
		table += fmt.Sprintf("%g,%g,%s\n", x[2*i], x[2*i+1], []string{"cat", "dog"}[class])
	}
	writeFiles(t, ".", map[string][]byte{"table.csv": []byte(table)})
	help, count := strings.Join(slices.Collect(maps.Values(commandPages())), "\n"), 0
	for page, text := range texts {
		for _, line := range command.FindAllStringSubmatch(text, -1) {
			if strings.HasPrefix(line[1], "check ") && strings.Contains(help, line[0]+"\n") {
				continue // TestCommandsOfTheReadmeAndTheHelp runs it
			}
			words := line[1] + smaller(line[1])
			r := bilevel(words)
			require.Equal(t, exitOK, r.code, "%s: bilevel %s: %s", page, words, r.stderr)
			count++
		}
	}
	require.Greater(t, count, 5)
	for _, name := range []string{"suspects.csv", "labels.csv", "model.npz", "result.json", "confusion.svg",
		"p-given.svg"} {
		require.FileExists(t, filepath.Join("results", "clean-mine", name),
			"docs/quickstart.md says that it is written")
	}
}
