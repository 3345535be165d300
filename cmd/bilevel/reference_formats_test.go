package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device/open"
	"bilevel/experiments"
	"bilevel/experiments/train"
	"bilevel/internal/npy"
	"bilevel/internal/safetensors"
)

// form is a form of data that is read: what it is, a small example, and how the page shows the example. What the page
// says of the example is what the program says.
type form struct {
	title, text string
	files       func(t *testing.T) map[string][]byte
	data        string // what --data names
	options     data.Options
	shown       string // the example as text or in Python; "" shows the only file
}

func texts(of map[string]string) func(*testing.T) map[string][]byte {
	return func(*testing.T) map[string][]byte {
		files := map[string][]byte{}
		for name, text := range of {
			files[name] = []byte(text)
		}
		return files
	}
}

// zipped is an .npz archive.
func zipped(t *testing.T, members map[string][]byte) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(members)) {
		w, err := z.Create(name)
		require.NoError(t, err)
		_, err = w.Write(members[name])
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return b.Bytes()
}

var readForms = []form{
	{
		title: "NumPy arrays, .npy",
		text: "A folder with train_x.npy and train_y.npy, and where wanted val_x.npy, val_y.npy, test_x.npy, " +
			"test_y.npy; other names with words such as images, features, labels, targets, training, valid " +
			"serve too. Format versions 1 to 3, both byte orders, C and Fortran order; bool, integers, float16, " +
			"float32 and float64; labels also as text. Features have a row for each example and any further " +
			"dimensions. Labels are one number or word a row, a column, or one-hot.",
		files: func(t *testing.T) map[string][]byte {
			return map[string][]byte{
				"mine/train_x.npy": array(t, []float32{5.1, 3.5, 4.9, 3, 6.2, 2.9}, 3, 2),
				"mine/train_y.npy": array(t, []int64{-1, -1, 7}, 3),
			}
		},
		data: "./mine",
		shown: "np.save('mine/train_x.npy', np.array([[5.1, 3.5], [4.9, 3.0], [6.2, 2.9]], " +
			"'float32'))\nnp.save('mine/train_y.npy', np.array([-1, -1, 7]))",
	},
	{
		title: "NumPy archives, .npz",
		text: "One file with the arrays x and y, or x_train, y_train and those of val and test, stored or " +
			"deflated. Members that are pickled objects are refused with the line of Python that writes them " +
			"otherwise.",
		files: func(t *testing.T) map[string][]byte {
			return map[string][]byte{"mine.npz": zipped(t, map[string][]byte{
				"x.npy": array(t, []float64{0, 1, 1, 0, 1, 1}, 3, 2), "y.npy": array(t, []int64{3, 3, 8}, 3),
			})}
		},
		data: "./mine.npz", shown: "np.savez('mine.npz', x=np.array([[0, 1], [1, 0], [1, 1.]]), y=np.array([3, " +
			"3, 8]))",
	},
	{
		title: "Tables, .csv and .tsv",
		text: "UTF-8 text with a header, in one file or in train.csv, val.csv and test.csv; columns are " +
			"separated by commas, semicolons or tabs, whichever the header has most of, and may be quoted. One " +
			"column is the label, several a one-hot label, all others are features and must be numbers, or true " +
			"and false. Empty cells, NA, NaN, null and ? are missing values and refused by row. May be " +
			"compressed by gzip or bzip2.",
		files: texts(map[string]string{
			"flowers.csv": "length,width,kind\n5.1,3.5,setosa\n4.9,3.0,setosa\n6.2,2.9,versicolor\n",
		}),
		data:    "./flowers.csv",
		options: data.Options{Label: "kind"},
	},
	{
		title: "LIBSVM, also called svmlight",
		text: "A line for each row: a label, then pairs index:value with ascending indices; what is left out is " +
			"0. Indices count from 1, or from 0 where an index 0 occurs or scikit-learn's comment says so. A " +
			"second file with the ending .t holds the test rows. Rows become dense in memory; where that would " +
			"not fit, the file is refused with the memory that it would take. May be compressed by gzip or " +
			"bzip2.",
		files: texts(map[string]string{"mine.libsvm": "+1 1:0.5 3:2\n-1 2:1\n-1 # a row of zeros\n"}),
		data:  "./mine.libsvm",
	},
	{
		title: "IDX, the format of MNIST",
		text: "Big endian: two bytes 0, the type (8 uint8, 9 int8, 11 int16, 12 int32, 13 float32, 14 float64), " +
			"the number of dimensions, each dimension as uint32, then the elements, row-major. A folder with " +
			"MNIST's four names, or others with words such as images and labels, of any type and rank. Values " +
			"stay as they are: pixels are 0 to 255. May be compressed by gzip or bzip2.",
		files: func(*testing.T) map[string][]byte {
			return map[string][]byte{
				"digits/train-images-idx3-ubyte": idx([]byte{0, 255, 255, 0, 51, 0, 0, 51}, 2, 2, 2),
				"digits/train-labels-idx1-ubyte": idx([]byte{4, 9}, 2),
			}
		},
		data: "./digits",
		shown: "open('digits/train-images-idx3-ubyte', 'wb').write(bytes([0, 0, 8, 3, 0,0,0,2, 0,0,0,2, " +
			"0,0,0,2,\n                                                         0, 255, 255, 0, 51, 0, 0, " +
			"51]))\nopen('digits/train-labels-idx1-ubyte', 'wb').write(bytes([0, 0, 8, 1, 0,0,0,2, 4, 9]))",
	},
	{
		title: "CIFAR's binary records, .bin",
		text: "Records of one label byte, or of two as in CIFAR-100, of which the second counts, and 3,072 " +
			"pixels, channel after channel. Training rows are those of data_batch_1.bin … data_batch_5.bin or " +
			"of train.bin, test rows those of test_batch.bin or test.bin; one file alone is the training rows. " +
			"Rows become images of the shape [32, 32, 3], with the channels of a pixel side by side.",
		files: func(*testing.T) map[string][]byte {
			return map[string][]byte{"mine/train.bin": append(append([]byte{3}, make([]byte, 3072)...),
				append([]byte{9}, make([]byte, 3072)...)...)}
		},
		data:  "./mine",
		shown: "open('mine/train.bin', 'wb').write(bytes([3] + 3072 * [0] + [9] + 3072 * [0]))",
	},
	{
		title: "Folders of images, .png and .jpg",
		text: "A folder for each class, CLASS/*.png, or such folders in train, val and test; images also lie in a " +
			"folder images below that of the class, and a validation part as Tiny-ImageNet's does, val/images " +
			"with val_annotations.txt. Rows are in the order of the names of the classes' folders and, within a " +
			"class, of the files', as Python's sorted(pathlib.Path('pets').glob('*/*.png')) gives them; trusted.npy " +
			"marks them in this order. Other images are left out and named. All images must have one size, of at " +
			"most 65,536 pixels. Rows have the shape [height, width, 3], or [height, width] where no image has " +
			"colours.",
		files: func(t *testing.T) map[string][]byte {
			var b bytes.Buffer
			require.NoError(t, png.Encode(&b, image.NewGray(image.Rect(0, 0, 3, 2))))
			return map[string][]byte{"pets/cat/1.png": b.Bytes(), "pets/dog/1.png": b.Bytes()}
		},
		data: "./pets",
		shown: "os.makedirs('pets/cat'); os.makedirs('pets/dog')\n" +
			"Image.new('L', (3, 2)).save('pets/cat/1.png'); Image.new('L', (3, 2)).save('pets/dog/1.png')",
	},
}

// formatsPage describes what is read by examples, and what is written by what small runs leave.
func formatsPage(t *testing.T) string {
	text := "# File formats\n\n## Data that is read\n"
	for _, f := range readForms {
		files := f.files(t)
		shown := f.shown
		for name, b := range files {
			writeFiles(t, filepath.Dir(name), map[string][]byte{filepath.Base(name): b})
			if f.shown == "" {
				shown = string(b)
			}
		}
		set, err := data.OpenWith(f.data, func(string) string { return "" }, f.options)
		require.NoError(t, err, f.title)
		label := ""
		if f.options.Label != "" {
			label = " --label " + f.options.Label
		}
		says := fmt.Sprintf("%d rows of %d features in %d classes", set.Train.N(), set.Train.Dim, set.Classes)
		if set.ClassNames != nil {
			says += ", which are " + strings.Join(set.ClassNames, ", ")
		}
		text += fmt.Sprintf("\n### %s\n\n%s\n```\n%s\n```\n\n", f.title, prose(f.text), strings.TrimRight(shown, "\n"))
		text += wrap("", "", fmt.Sprintf("`--data %s%s` reads %s.", f.data, label, says))
		for _, note := range set.Notes {
			text += "\n" + wrap("> ", "> ", note)
		}
		require.NoError(t, os.RemoveAll(f.data))
	}
	return text + "\n" + modelFormat(t) + "\n" + resultsFormat(t)
}

// modelFormat describes the arrays of a model, from one that train has written.
func modelFormat(t *testing.T) string {
	r := bilevel("train --quiet --model mlp:32 --batch-norm --epochs 1 --out m")
	require.Equal(t, exitOK, r.code, r.stderr)
	return "## Models, .safetensors and .npz\n\n" +
		wrap("", "", "A safetensors file: 8 bytes with the length of a header, little endian; the header, a "+
			"JSON object that gives each array its type, its shape and the place of its bytes; then the arrays, "+
			"row-major and little endian. Arrays have the names that PyTorch's `state_dict` gives the same "+
			"layers, so that `load_state_dict` takes them once `scaler.mean` and `scaler.deviation` are taken "+
			"out, by which inputs are standardized: (x - mean) / deviation; where features lie so far from 0 that "+
			"float32 would lose them, the metadata origin is what was subtracted from each in float64 before "+
			"that, (x - origin) - (mean - origin). Read are F64, F32, F16, BF16, and "+
			"integers and booleans that int32 holds; written are F32, and F64 where F32 would lose bits. "+
			"`bilevel train --model mlp:32 --batch-norm` on the embedded digits writes:") +
		"\n" + arraysOf(t, filepath.Join("m", "model.safetensors")) + "\n" +
		wrap("", "", "`bilevel clean` writes the cleaned model as .npz, which NumPy's `np.load` reads: the "+
			"layers have the same names, the scaler is `standardize.mean` and `standardize.deviation`. "+
			"`bilevel predict` does not take it.")
}

// arraysOf lists the arrays and the metadata of a safetensors file.
func arraysOf(t *testing.T, path string) string {
	f, err := safetensors.ReadFile(path, "file")
	require.NoError(t, err)
	text := ""
	for _, name := range slices.Sorted(maps.Keys(f.Arrays)) {
		text += item(fmt.Sprintf("`%s` %v", name, f.Arrays[name].Shape))
	}
	if len(f.Metadata) > 0 {
		text += item(fmt.Sprintf("metadata: %s", quoted(slices.Sorted(maps.Keys(f.Metadata)))))
	}
	return text
}

func quoted(names []string) string { return "`" + strings.Join(names, "`, `") + "`" }

// written says what each file of a folder of results is for. NAME stands for a table's or plot's own name.
var written = map[string]string{
	"cells/KEY/checkpoint.safetensors": "a cell that is unfinished, see below",
	"cells/KEY/record.gob":             "a cell that is finished, see below",
	"config.yaml":                      "the configuration that was used, which `--config` takes again",
	"confusion.svg":                    "given against suggested labels",
	"error-epochs.svg":                 "validation error over epochs",
	"error-iterations.svg":             "errors over iterations",
	"error-seconds.svg":                "errors over seconds",
	"labels.csv":                       "the labels, with those of flagged rows replaced",
	"metrics.csv":                      "the curves, a line for each time that was noted",
	"metrics.jsonl":                    "the same, one JSON object a line",
	"model.npz":                        "the cleaned model",
	"model.safetensors":                "the trained model",
	"error-rounds.svg":                 "errors over the rounds, on held-out trusted rows and on the test rows",
	"p-given.svg":                      "how the probabilities of the given labels are distributed",
	"report.html":                      "one page with all of it, which asks for no other file",
	"result.json":                      "every figure, as `--json` prints it; the file that is written last",
	"suspects.csv": "every training row, the most suspect first; `row` counts from 0; of " +
		"folders of images there is a last column, `file`, in labels.csv too",
	"suspects.png": "the most suspect images",
	"weights.svg":  "how the weights of rows are distributed",
}

var cellKey = regexp.MustCompile(`cells/[0-9a-f]{16}/`)

// resultsFormat lists what runs of each form leave in their folders, and what is in those files.
func resultsFormat(t *testing.T) string {
	text := "## Folders of results\n\n" +
		wrap("", "", "Every file is written whole or not at all, `result.json` last. With several seeds tables "+
			"and models are called NAME-seed-S.csv, and numbers in `result.json` become {mean, std, values}. "+
			"Every .svg has a .png beside it.")
	used := map[string]bool{}
	for _, line := range []string{
		"train --epochs 1", "clean --weights table --model softmax --iters 50", "clean --weights plain --iters 50",
	} {
		r := bilevel(line + " --quiet --out r")
		require.Equal(t, exitOK, r.code, r.stderr)
		text += fmt.Sprintf("\n### bilevel %s\n\n", line)
		require.NoError(t, filepath.WalkDir("r", func(path string, d fs.DirEntry, err error) error {
			name := cellKey.ReplaceAllString(strings.TrimPrefix(filepath.ToSlash(path), "r/"), "cells/KEY/")
			if err != nil || d.IsDir() || strings.HasSuffix(name, ".png") && written[name] == "" {
				return err
			}
			require.NotEmpty(t, written[name], "%s writes %s, which this table does not describe", line, name)
			used[name] = true
			text += item(fmt.Sprintf("`%s`: %s%s", name, written[name], contentOf(t, path)))
			return nil
		}))
		require.NoError(t, os.RemoveAll("r"))
	}
	checkpoint := leaveCheckpoint(t)
	used["cells/KEY/checkpoint.safetensors"] = true
	for name := range written {
		require.True(t, used[name], "%s is described but never written", name)
	}
	var fields []string
	for f := range reflect.TypeFor[experiments.Record]().Fields() {
		fields = append(fields, f.Name)
	}
	return text + "\n### Records\n\n" +
		wrap("", "", "`cells/KEY/record.gob` holds a finished cell (a configuration and a seed), bit for bit, "+
			"for `--resume`: a line with the SHA-256 of the rest, which is Go's gob encoding of "+
			"`experiments.Record`. It is for this program; `result.json`, `metrics.csv` and the tables say the same "+
			"for others. KEY is the first 16 hexadecimal digits of the SHA-256 of the cell's JSON. Its fields: "+
			quoted(fields)+".") +
		"\n### Checkpoints\n\n" +
		wrap("", "", "`cells/KEY/checkpoint.safetensors` holds an unfinished cell: the state of its engine by "+
			"name, what it has noted so far, and as "+
			"metadata one JSON object with the fields "+quoted(checkpointFields(t, checkpoint))+". One that was "+
			"stopped in "+
			"`bilevel train --model softmax` has the arrays:") +
		"\n" + arraysOf(t, checkpoint)
}

// contentOf says what is in a file: columns, fields or arrays.
func contentOf(t *testing.T, path string) string {
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	switch filepath.Ext(path) {
	case ".csv":
		columns, err := csv.NewReader(bytes.NewReader(text)).Read()
		require.NoError(t, err)
		return "; columns " + quoted(columns)
	case ".json":
		var object map[string]any
		require.NoError(t, json.Unmarshal(text, &object))
		return "; fields " + quoted(fieldsOf("", object))
	case ".npz":
		z, err := zip.NewReader(bytes.NewReader(text), int64(len(text)))
		require.NoError(t, err)
		var arrays []string
		for _, f := range z.File {
			in, err := f.Open()
			require.NoError(t, err)
			a, err := npy.Read(in)
			require.NoError(t, err)
			arrays = append(arrays, fmt.Sprintf("`%s` %v", strings.TrimSuffix(f.Name, ".npy"), a.Shape))
		}
		return "; arrays " + strings.Join(arrays, ", ")
	}
	return ""
}

// fieldsOf lists the fields of a JSON object, those of objects in it with dots.
func fieldsOf(prefix string, object map[string]any) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if below, ok := object[name].(map[string]any); ok && prefix == "" {
			names = append(names, fieldsOf(name+".", below)...)
			continue
		}
		names = append(names, prefix+name)
	}
	return names
}

// leaveCheckpoint stops a run of softmax regression after its first iterations, and returns the path of its checkpoint.
func leaveCheckpoint(t *testing.T) string {
	set, err := data.Digits()
	require.NoError(t, err)
	dev, err := open.Open("ref", open.Options{})
	require.NoError(t, err)
	c := train.Defaults(set)
	c.Model = "softmax"
	cells, err := train.Experiment{}.Cells(c, []uint64{1})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	env := experiments.Env{Data: set, Progress: func(int) { cancel() }}
	store := &experiments.Store{Dir: "stopped", Version: "v", Device: "ref"}
	_, err = experiments.Run(ctx, dev, env, train.Experiment{}, cells, store, experiments.Hooks{})
	require.ErrorIs(t, err, context.Canceled)
	key, err := cells[0].Key()
	require.NoError(t, err)
	return filepath.Join("stopped", "cells", key, "checkpoint.safetensors")
}

func checkpointFields(t *testing.T, path string) []string {
	f, err := safetensors.ReadFile(path, "checkpoint")
	require.NoError(t, err)
	var object map[string]any
	require.NoError(t, json.Unmarshal([]byte(f.Metadata["checkpoint"]), &object))
	return slices.Sorted(maps.Keys(object))
}
