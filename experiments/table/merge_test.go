package table

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Parts with different seeds come to a table of all of their seeds, in whatever order they are given, and so do those
// that are merged into a folder with more.
func TestMergeOfDifferentSeeds(t *testing.T) {
	x := newInvented()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	part := func(name, seeds string, shard Shard) {
		table := expand(t, x, strings.Replace(small, "seeds: 3", "seeds: "+seeds, 1))
		f := open(t, table, at(name))
		work(t, table, f, shard)
		result(t, table, f)
	}
	part("whole", "4", Shard{1, 1})
	part("first", "2", Shard{1, 2})
	part("second", "4", Shard{1, 1})
	merged := func(into string, parts ...string) map[string]string {
		recipe, err := MergedRecipe(parts, at(into))
		require.NoError(t, err)
		table, err := Expand(recipe, x.application(someRows(1, 2)))
		require.NoError(t, err)
		f := open(t, table, at(into))
		require.NoError(t, f.Merge(table, parts))
		result(t, table, f)
		return files(t, f.Dir)
	}
	want := files(t, at("whole"))
	require.Equal(t, want, merged("new", at("first"), at("second")))
	require.Equal(t, want, merged("turned", at("second"), at("first")))
	require.Equal(t, want, merged("whole", at("first")), "a folder keeps the seeds that it has")
	recipe, err := MergedRecipe([]string{at("new")}, at("new"))
	require.NoError(t, err)
	require.Equal(t, FirstSeeds(4), recipe.Seeds)
}
