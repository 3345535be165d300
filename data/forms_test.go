package data

import (
	"archive/zip"
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The names under which people have IDX and NumPy files all lead to the same data.
func TestUsualNames(t *testing.T) {
	x, y, x10, y10 := idx(pixels(3, 0), 3, 2, 3), idx([]byte{0, 2, 1}, 3), idx(pixels(2, 20), 2, 2, 3),
		idx([]byte{2, 0}, 2)
	want, err := OpenFolder(folder(t, map[string][]byte{
		"train-images-idx3-ubyte": x, "train-labels-idx1-ubyte": y, "t10k-images-idx3-ubyte": x10,
		"t10k-labels-idx1-ubyte": y10,
	}))
	require.NoError(t, err)
	for _, names := range [][4]string{
		{"train-images.idx3-ubyte", "train-labels.idx1-ubyte", "t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"},
		{"train-images-idx3-ubyte.gz", "train-labels.idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"},
		{"emnist-letters-train-images-idx3-ubyte", "emnist-letters-train-labels-idx1-ubyte",
			"emnist-letters-test-images-idx3-ubyte", "emnist-letters-test-labels-idx1-ubyte"},
		{"Train_Images.IDX", "Train_Labels.IDX", "Test_Images.IDX", "Test_Labels.IDX"},
		{"train_images_ubyte", "train_labels_ubyte", "test_images_ubyte", "test_labels_ubyte"},
	} {
		d, err := OpenFolder(folder(t, map[string][]byte{names[0]: x, names[1]: y, names[2]: x10, names[3]: y10,
			"README.md": nil}))
		require.NoError(t, err, names[0])
		require.Equal(t, want.Train, d.Train, names[0])
		require.Equal(t, want.Test, d.Test, names[0])
	}

	a, b := array(t, ownX, 6, 2), array(t, []int32{2, 0, 1, 1, 0, 2}, 6)
	for _, names := range [][2]string{
		{"X_train.npy", "y_train.npy"}, {"xtrain.npy", "ytrain.npy"}, {"trainX.npy", "trainY.npy"}, {"X.npy", "y.npy"},
		{"train_images.npy", "train_labels.npy"}, {"data.npy", "target.npy"}, {"features.npy", "labels.npy"},
		{"train_data_x.npy", "train_data_y.npy"},
	} {
		d, err := OpenFolder(folder(t, map[string][]byte{names[0]: a, names[1]: b, "wrong.npy": b}))
		require.NoError(t, err, names[0])
		require.Equal(t, ownX, d.Train.Features, names[0])
		require.Nil(t, d.Test)
	}
	for _, c := range []struct {
		files map[string][]byte
		want  string
	}{
		{map[string][]byte{"x.npy": a, "y.npy": b, "features.npy": a},
			"may both hold the training features; move one of them elsewhere"},
		{map[string][]byte{"x.npy": a, "y.npy": b, "train.csv": []byte("a,label\n1,2\n")},
			"holds both NumPy arrays (x.npy) and tables (train.csv)"},
		{map[string][]byte{"a.parquet": a},
			`pandas.read_parquet("a.parquet").to_csv("data.csv", index=False) makes a table of it`},
		{map[string][]byte{"emnist-letters-train-images-idx3-ubyte": x, "emnist-digits-train-images-idx3-ubyte": x},
			"may both hold the training features"},
	} {
		_, err := OpenFolder(folder(t, c.files))
		require.ErrorContains(t, err, c.want)
	}
	// A name without a word for its part is the training part beside a test part, too.
	d, err := OpenFolder(folder(t, map[string][]byte{"x.npy": a, "y.npy": b, "x_test.npy": a, "y_test.npy": b}))
	require.NoError(t, err)
	require.Equal(t, d.Train, d.Test)
	above := t.TempDir()
	write(t, filepath.Join(above, "MNIST", "raw"), tiny())
	_, err = OpenFolder(filepath.Join(above, "MNIST"))
	raw := filepath.Join(above, "MNIST", "raw")
	require.ErrorContains(t, err, raw+" holds IDX files: give that folder")
	_, err = OpenFolder(raw)
	require.NoError(t, err)
	// train_x.npy and train_y.npy were always read, whatever lies beside them.
	d, err = OpenFolder(folder(t, map[string][]byte{"train_x.npy": a, "train_y.npy": b, "X_train.npy": nil,
		"y_train.npy": nil}))
	require.NoError(t, err)
	require.Equal(t, 6, d.Train.N())
}

func TestFilesThatAreNoDataSets(t *testing.T) {
	dir := folder(t, map[string][]byte{
		"x.npy": array(t, ownX, 6, 2), "a.xlsx": []byte("PK"), "train-images-idx3-ubyte": idx(pixels(1, 0), 1, 2, 3),
		"a.npz": []byte("PK"), "words": []byte("some words of text\n"), "a.zip": []byte("PK"),
	})
	for name, want := range map[string]string{
		"x.npy":                   "put features and labels into a folder as train_x.npy and train_y.npy",
		"a.xlsx":                  `pandas.read_excel("a.xlsx")`,
		"train-images-idx3-ubyte": "give the folder that holds its labels too",
		"a.npz":                   "not a usable .npz file",
		"words":                   "is no file that is read here",
		"a.zip":                   "unpack a.zip and give the folder",
	} {
		_, err := OpenFolder(filepath.Join(dir, name))
		require.ErrorContains(t, err, want, name)
	}
	for path, want := range map[string]string{
		"digits": "digits has its labels", "mnist": "mnist has its labels",
		folder(t, arrays(t)): "labels have their own place",
	} {
		_, err := OpenWith(path, noEnv, Options{Label: "y"})
		requireUsage(t, err, want)
	}
}

func TestNPZ(t *testing.T) {
	archive := func(files ...any) []byte {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for i := 0; i < len(files); i += 2 {
			w, err := z.Create(files[i].(string) + ".npy")
			require.NoError(t, err)
			_, err = w.Write(files[i+1].([]byte))
			require.NoError(t, err)
		}
		require.NoError(t, z.Close())
		return b.Bytes()
	}
	x, y := array(t, ownX, 6, 2), array(t, []int32{2, 0, 1, 1, 0, 2}, 6)
	for _, files := range []map[string][]byte{
		{"train.npz": archive("x", x, "y", y), "test.npz": archive("x", x, "y", y)},
		{"kmnist-train-imgs.npz": archive("arr_0", x), "kmnist-train-labels.npz": archive("arr_0", y),
			"kmnist-test-imgs.npz": archive("arr_0", x), "kmnist-test-labels.npz": archive("arr_0", y)},
		{"set.npz": archive("train_images", x, "train_labels", y, "test_images", x, "test_labels", y)},
	} {
		d, err := OpenFolder(folder(t, files))
		require.NoError(t, err)
		require.Equal(t, d.Train, d.Test)
	}
	for _, c := range []struct {
		file []byte
		want string
	}{
		{archive("x", x), "the training labels are missing"},
		{archive("weights", x), "the training features are missing"},
		{archive("weights", x), "array weights: call them x and y"},
		{archive("data", x, "indices", y, "indptr", y), "sparse matrix of SciPy; save it dense"},
		{archive("x", x, "x", x), "holds the array x twice"},
		{archive("x", x, "y", y[:100]), "array y: npy: "},
		{[]byte("no archive"), "not a usable .npz file"},
	} {
		_, err := OpenFolder(folder(t, map[string][]byte{"a.npz": c.file}))
		require.ErrorContains(t, err, c.want)
	}
}

func TestLIBSVM(t *testing.T) {
	d, err := OpenFolder(folder(t, map[string][]byte{
		"set": []byte("-1.0 2:1 4:-0.5\n\n+1 1:3e1 # a comment\n1\n"), "set.t": []byte("-1 5:1\n"),
	}))
	require.NoError(t, err)
	require.Equal(t, []int{5}, d.Shape, "the test part has the last column")
	require.Equal(t, []float32{0, 1, 0, -0.5, 0, 30, 0, 0, 0, 0, 0, 0, 0, 0, 0}, d.Train.Features)
	require.Equal(t, []int32{0, 1, 1}, d.Train.Labels)
	require.Equal(t, []string{"-1", "1"}, d.ClassNames)
	require.Equal(t, []float32{0, 0, 0, 0, 1}, d.Test.Features)

	d, err = OpenFolder(folder(t, map[string][]byte{"a.trn": []byte("1 1:1\n2 1:2\n"), "a.tst": []byte("1 0:5\n")}))
	require.NoError(t, err)
	require.Equal(t, []float32{0, 1, 0, 2}, d.Train.Features, "an index 0 in any part counts from 0 in all")

	for text, want := range map[string]string{
		"1 1:1\n1,2 1:1\n":          "line 2: the row has several labels, 1,2",
		"1 1:1\n1:1 2:2\n":          `line 2: the label is missing before "1:1"`,
		"1 1:1\n1 2\n":              `line 2: "2" is no pair index:value`,
		"1 1:1\n1 -2:1\n":           "is no pair index:value",
		"1 1:1\n1 3:1 2:1\n":        "line 2: the index 2 comes after 3; indices of a row must ascend",
		"1 1:1\n1 1:x\n":            `"1:x": "x" is no number`,
		"1 1:1\n1 1:nan\n":          "row 1, column 0 (counted from 0) is NaN",
		"1 1:1\nyes 1:1\n":          `the label of row 1 (counted from 0) is "yes"`,
		"1 1:1\n0.5 1:1\n":          "is 0.5; labels are classes, so they must be whole numbers",
		"1 1:1\n1 99999999:1\n":     "is above",
		"1 1:1\n1 16000000:1\n":     "would take 0.1 GB, for features are kept dense; reduce the columns first",
		"1 1:1\n1 9999999999999:1 ": "is no pair index:value",
	} {
		_, err := OpenFolder(folder(t, map[string][]byte{"a.libsvm": []byte(text)}))
		require.ErrorContains(t, err, want, text)
	}
}

// cifar is records of CIFAR-10 or CIFAR-100: pixel j of image i is i + j, cut to a byte.
func cifar(labelBytes int, labels ...byte) []byte {
	var b []byte
	for i, y := range labels {
		b = append(b, make([]byte, labelBytes-1)...)
		b = append(b, y)
		for j := range cifarPixels {
			b = append(b, byte(i+j+j/1024*7))
		}
	}
	return b
}

func TestCIFAR(t *testing.T) {
	ten := map[string][]byte{"data_batch_1.bin": cifar(1, 3, 9), "data_batch_2.bin": cifar(1, 0),
		"test_batch.bin": cifar(1, 5), "readme.html": nil}
	hundred := map[string][]byte{"train.bin": cifar(2, 3, 99), "test.bin": cifar(2, 5)}
	root := t.TempDir()
	env := func(string) string { return root }
	write(t, filepath.Join(root, "cifar10", "cifar-10-batches-bin"), ten)
	write(t, filepath.Join(root, "cifar100"), hundred)

	d, err := Open("cifar10", env)
	require.NoError(t, err)
	require.Equal(t, []int{32, 32, 3}, d.Shape)
	require.Equal(t, []int32{3, 9, 0}, d.Train.Labels)
	require.Equal(t, []int32{5}, d.Test.Labels)
	require.Equal(t, 10, d.Classes)
	require.Equal(t, []float32{255, 6, 13, 0, 7, 14}, d.Train.Row(1)[3*254:3*256], "the channels of a pixel together")
	kept, err := OpenWith("cifar10", env, Options{Bytes: true})
	require.NoError(t, err)
	require.Nil(t, kept.Train.Features)
	for i, b := range kept.Train.Bytes {
		require.EqualValues(t, b, d.Train.Features[i])
	}
	two, err := kept.Train.Rows([]int32{2, 0})
	require.NoError(t, err)
	require.Equal(t, append(kept.Train.Bytes[2*3072:3*3072:3*3072], kept.Train.Bytes[:3072]...), two.Bytes)
	d, err = Open("cifar100", env)
	require.NoError(t, err)
	require.Equal(t, []int32{3, 99}, d.Train.Labels)
	require.Equal(t, 100, d.Classes)

	d, err = OpenFolder(filepath.Join(root, "cifar10"))
	require.NoError(t, err)
	require.Equal(t, []string{"0", "3", "5", "9"}, d.ClassNames, "those that occur")
	path := filepath.Join(root, "cifar100", "train.bin")
	d, err = Open(path, noEnv)
	require.NoError(t, err)
	require.Equal(t, []string{"3", "99"}, d.ClassNames)
	require.Equal(t, path, d.Name)

	for _, c := range []struct {
		files map[string][]byte
		want  string
	}{
		{map[string][]byte{"train.bin": cifar(1, 10)}, "row 0 (counted from 0) has the label 10"},
		{map[string][]byte{"train.bin": cifar(1, 1, 2)[:6000]}, "train.bin: its 6000 bytes are no whole number of " +
			"CIFAR's records of 3073 bytes (CIFAR-10; 2927 bytes are left over) or 3074 bytes (CIFAR-100; 2926 bytes " +
			"are left over): the file is cut off or damaged; replace it by a good copy"},
		{map[string][]byte{"train.bin": nil}, "train.bin: the file is empty"},
		{map[string][]byte{"weights.bin": cifar(1, 1)}, "neither train.bin nor data_batch_1.bin among weights.bin"},
	} {
		_, err := OpenFolder(folder(t, c.files))
		require.ErrorContains(t, err, c.want)
	}
}

// picture encodes an image whose pixels are v.
func picture(t testing.TB, m interface {
	image.Image
	Set(x, y int, c color.Color)
}, v color.Color, asJPEG bool) []byte {
	t.Helper()
	b := m.Bounds()
	for y := range b.Dy() {
		for x := range b.Dx() {
			m.Set(x, y, v)
		}
	}
	var w bytes.Buffer
	if asJPEG {
		require.NoError(t, jpeg.Encode(&w, m, &jpeg.Options{Quality: 100}))
	} else {
		require.NoError(t, png.Encode(&w, m))
	}
	return w.Bytes()
}

func zipped(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		w, err := z.Create(name)
		require.NoError(t, err)
		_, err = w.Write(text)
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return b.Bytes()
}

func unzipped(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o666))
	}
	return dir
}

func TestOmniglot(t *testing.T) {
	square := image.Rect(0, 0, 105, 105)
	ink := picture(t, image.NewPaletted(square, color.Palette{color.White, color.Black}), color.Black, false)
	paper := picture(t, image.NewGray(square), color.White, false)
	background := map[string][]byte{
		"images_background/Greek/character02/0002_01.png": ink,
		"images_background/Greek/character01/0001_01.png": paper,
	}
	evaluation := map[string][]byte{"images_evaluation/Angelic/character01/0965_01.png": ink}
	both := map[string][]byte{}
	for _, files := range []map[string][]byte{background, evaluation} {
		for name, text := range files {
			both[name] = text
		}
	}
	for _, dir := range []string{
		folder(t, map[string][]byte{"images_background.zip": zipped(t, background),
			"images_evaluation.zip": zipped(t, evaluation)}),
		unzipped(t, both),
	} {
		d, err := OpenNamed("omniglot", dir)
		require.NoError(t, err)
		require.Equal(t, []int{105, 105}, d.Shape)
		require.Equal(t, []string{"Angelic/character01", "Greek/character01", "Greek/character02"}, d.ClassNames)
		require.Equal(t, []int32{1, 2}, d.Train.Labels)
		require.Equal(t, []int32{0}, d.Test.Labels)
		require.Equal(t, []float32{255, 0, 0}, []float32{d.Train.Row(0)[0], d.Train.Row(1)[0], d.Test.Row(0)[11024]})
	}
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"size": {picture(t, image.NewGray(image.Rect(0, 0, 3, 3)), color.White, false),
			"images must be of one size, which is 105×105 in images_background/Greek/character01/0001_01.png, but " +
				"another one in images_background/Greek/character02/0002_02.png (3×3)"},
		"large": {picture(t, image.NewGray(image.Rect(0, 0, 300, 300)), color.White, false),
			"an image of 300×300; at most 65536 pixels"},
		"text": {[]byte("text"), "no image that is read here"},
		"bomb": {make([]byte, maxImageFile+1), "it is larger than"},
		"cut":  {ink[:len(ink)-20], "0002_02.png: "},
	} {
		files := with(background, "images_background/Greek/character02/0002_02.png", c.file)
		_, err := OpenFolder(folder(t, map[string][]byte{"images_background.zip": zipped(t, files)}))
		require.ErrorContains(t, err, c.want, name)
	}
}

func TestTinyImageNet(t *testing.T) {
	square := image.Rect(0, 0, 64, 64)
	red := picture(t, image.NewRGBA(square), color.RGBA{200, 10, 30, 255}, true)
	grey := picture(t, image.NewGray(square), color.Gray{100}, true)
	files := map[string][]byte{
		"tiny-imagenet-200/wnids.txt":                      []byte("n02\nn01\n"),
		"tiny-imagenet-200/train/n02/images/n02_0.JPEG":    red,
		"tiny-imagenet-200/train/n01/images/n01_0.JPEG":    grey,
		"tiny-imagenet-200/val/images/val_0.JPEG":          red,
		"tiny-imagenet-200/val/val_annotations.txt":        []byte("val_0.JPEG\tn02\t0\t0\t62\t57\n"),
		"tiny-imagenet-200/train/n01/images/n01_boxes.txt": nil,
	}
	for _, dir := range []string{
		folder(t, map[string][]byte{"tiny-imagenet-200.zip": zipped(t, files)}), unzipped(t, files),
		filepath.Join(unzipped(t, files), "tiny-imagenet-200"),
	} {
		d, err := OpenNamed("tiny-imagenet", dir)
		require.NoError(t, err)
		require.Equal(t, []string{"n01", "n02"}, d.ClassNames)
		require.Equal(t, []int32{0, 1}, d.Train.Labels)
		require.Equal(t, []int32{1}, d.Test.Labels)
		require.Equal(t, []int{64, 64, 3}, d.Shape)
		row := d.Train.Row(1)
		require.InDeltaSlice(t, []float32{200, 10, 30}, []float32{row[0], row[1], row[3*4095+2]}, 3,
			"JPEG loses some")
		row = d.Train.Row(0)
		require.Equal(t, []float32{row[0], row[0]}, []float32{row[1], row[2]}, "grey")
		require.InDelta(t, 100, row[0], 2)
	}
	delete(files, "tiny-imagenet-200/val/images/val_0.JPEG")
	_, err := OpenFolder(unzipped(t, files))
	require.ErrorIs(t, err, fs.ErrNotExist)
	files["tiny-imagenet-200/val/val_annotations.txt"] = []byte("../../secret\tn02\n")
	_, err = OpenFolder(unzipped(t, files))
	require.ErrorContains(t, err, "is no line of it")
}

// Rows that would not fit into memory as they are kept are refused with what they would take.
func TestLIBSVMMemory(t *testing.T) {
	train := &sparseRows{from: "a.libsvm", words: make([]string, 3000)}
	test := &sparseRows{from: "a.libsvm.t", words: make([]string, 1000)}
	parts := []*sparseRows{train, nil, test}
	require.NoError(t, fitDense(parts, 1_000_000, 16e9))
	err := fitDense(parts, 1_000_000, 15e9)
	require.EqualError(t, err, "a.libsvm: 4000 rows of 1000000 columns would take 16.0 GB, for features are kept "+
		"dense, and 15.0 GB are free; take fewer rows, or reduce the columns first, in scikit-learn by TruncatedSVD")
}
