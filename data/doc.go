// Package data reads labelled data sets and prepares them: splits, standardization, label noise, minibatches.
//
// Open finds a data set by name or folder; Digits needs no file at all. A Dataset has a training Set and, where its
// source has them, a validation and a test Set. A Set is features [n, d], row-major float32, and one label per row.
//
// # Folders and files
//
// A folder holds one data set, in one of these forms; the content tells, not the ending, whether a file is compressed
// by gzip or bzip2:
//
//	train_x.npy  train_y.npy  val_x.npy  …       NumPy arrays, x of any type of number and shape [n, …], y of labels
//	data.npz                                     such arrays under the names x, y, or x_train, y_train, x_test, …
//	train.csv  val.csv  test.csv  (.tsv)         tables whose first line names the columns
//	train-images-idx3-ubyte  train-labels-…      IDX files of any type and rank
//	name  name.t                                 LIBSVM's text
//	data_batch_1.bin … test_batch.bin            CIFAR's binary records; or train.bin, test.bin
//	images_background.zip  images_evaluation.zip Omniglot, packed or unpacked
//	tiny-imagenet-200.zip                        Tiny-ImageNet, packed or unpacked
//	CLASS/*.png, or train/CLASS/*.png  val/…     a folder of images (PNG or JPEG) for each class, all of one size
//
// All but the training part may be missing. A name says its part by one of the words train, val, test and their usual
// variants, and features or labels by x, images, features, data, y, labels, target and the like, with anything between:
// X_train.npy and train-labels.idx1-ubyte are found. A name without a word for its part is the training part. Two files
// that may be the same part are an error. A file instead of a folder (.npz, a table, LIBSVM's text, CIFAR's records) is
// the whole set.
//
// The label column of a table is named by Options.Label; without it, it is the one called label, target, class or y.
// Its other columns are numbers, or true and false.
//
// # Labels
//
// Labels may be integers of any size and sign, floats without fractions, booleans, words, or one-hot. The classes that
// occur in any part are numbered 0, 1, 2, … in sorted order, by number where all are numbers. Dataset.ClassNames has
// the user's names. Of sets that are known by name and have the labels 0 … k-1, all k are classes.
//
// # Values
//
// Features are as in the files: pixels stay 0 … 255, and bytes with Options.Bytes. Images that are read here have the
// shape [height, width] or [height, width, 3] with the channels of a pixel side by side (Dataset.Image), also where
// their files have the channels one after the other, as CIFAR's do. Whoever wants features standardized calls
// Standardize on the training rows and applies the Scaler to all parts. Everything a reader returns is finite and
// in range; rows that are not are named in the error. Rows that alone decide the scale of a column are named in
// Dataset.Notes, and so are columns so far from 0 that float32 loses them: Options.Wide keeps those less an origin.
//
// # Randomness
//
// Splits, label noise and minibatches come from Philox streams: they depend on the seed and on what they are for, and
// on nothing that ran before, so that a resumed run draws the same.
//
// # Errors
//
// A *UsageError is a name or value that can never work, a *NotFoundError a known data set that is not on this machine;
// other errors are about files, and name them. Nothing here panics on bad input.
package data
