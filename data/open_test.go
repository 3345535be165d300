package data

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOpenUnknownName(t *testing.T) {
	t.Chdir(t.TempDir())
	var usage *UsageError
	for _, c := range [][2]string{
		{"", "the name of a data set is missing"},
		{"minst", `unknown data set "minst"; did you mean mnist? known are digits, mnist, fashion-mnist, cifar10, ` +
			`cifar100, ijcnn1, adult, tiny-imagenet, omniglot, and folders: for a folder write ./minst`},
		{"digit", "did you mean digits?"},
		{"quadratic", `unknown data set "quadratic"; known are`},
	} {
		name, want := c[0], c[1]
		_, err := Open(name, noEnv)
		require.ErrorContains(t, err, want)
		require.ErrorAs(t, err, &usage)
	}
}

func TestOpenMissing(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("HOME", cache)
	t.Setenv("XDG_CACHE_HOME", cache)
	inCache, err := CacheFolder("mnist")
	require.NoError(t, err)

	_, err = Open("mnist", nil)
	var missing *NotFoundError
	require.ErrorAs(t, err, &missing)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.EqualError(t, err, "the data set mnist is not on this machine (looked in "+inCache+
		"; $BILEVEL_DATA is not set); get it with: bilevel data get mnist")

	root := t.TempDir()
	env := func(string) string { return root }
	_, err = Open("mnist", env)
	require.ErrorAs(t, err, &missing)
	require.Equal(t, []string{filepath.Join(root, "mnist"), inCache}, missing.Looked)
	require.EqualError(t, err, "the data set mnist is not on this machine (looked in "+
		filepath.Join(root, "mnist")+" and "+inCache+"); get it with: bilevel data get mnist")

	// The cache serves where the folder of the variable has no such set; the variable goes first.
	write(t, inCache, fashion(1))
	d, err := Open("mnist", env)
	require.NoError(t, err)
	require.Equal(t, inCache, d.Source)
	write(t, filepath.Join(root, "mnist"), fashion(1))
	d, err = Open("mnist", env)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(root, "mnist"), d.Source)

	require.Contains(t, (&NotFoundError{Name: "mnist", Unset: true}).Error(), "there is no user cache")
}

func TestOpenPaths(t *testing.T) {
	t.Chdir(folder(t, tiny()))
	write(t, "mine", tiny())
	write(t, "mnist", tiny()) // a known name is never a path
	for _, name := range []string{"mine", "./mine", "mine/", ".", "mine/..", "./mnist"} {
		d, err := Open(name, noEnv)
		require.NoError(t, err, name)
		require.Equal(t, name, d.Name)
	}
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", os.Getenv("XDG_CACHE_HOME"))
	_, err := Open("mnist", noEnv)
	require.ErrorAs(t, err, new(*NotFoundError))
}

func TestOpenFolderRefuses(t *testing.T) {
	both := arrays(t)
	for name, b := range tiny() {
		both[name] = b
	}
	dir := folder(t, map[string][]byte{"file": nil})
	for _, c := range []struct{ path, want string }{
		{filepath.Join(dir, "none"), "the data folder cannot be read"},
		{filepath.Join(dir, "file"), "file is no file that is read here"},
		{dir, "holds no data set that is read here (it has file)"},
		{folder(t, both), "holds both"},
		{t.TempDir(), "(it is empty)"},
		{folder(t, with(tiny(), "train-images-idx3-ubyte", nil)), "the training images are missing"},
	} {
		_, err := Open(c.path, noEnv)
		require.ErrorContains(t, err, c.want)
		var usage *UsageError
		require.False(t, errors.As(err, &usage), "%v is no usage error", err)
	}
}

func TestNamesOpen(t *testing.T) {
	// Every name is known to Open: what is missing is the data.
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for _, name := range Names() {
		_, err := Open(name, noEnv)
		var usage *UsageError
		require.False(t, errors.As(err, &usage), name)
	}
}
