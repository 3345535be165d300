// Package data reads labelled data sets and prepares them: splits, standardization, label noise, minibatches.
//
// Open finds a data set by name or folder; Digits needs no file at all. A Dataset has a training Set and, where its source
// has them, a validation and a test Set. A Set is features [n, d], row-major float32, and one label per row.
//
// # Folders
//
// A folder holds either MNIST's four IDX files, each plain or compressed by gzip (its content decides, with or without
// the ending .gz),
//
//	train-images-idx3-ubyte  train-labels-idx1-ubyte  t10k-images-idx3-ubyte  t10k-labels-idx1-ubyte
//
// or NumPy arrays, of which all but the first two may be missing,
//
//	train_x.npy  train_y.npy  val_x.npy  val_y.npy  test_x.npy  test_y.npy
//
// with x of any type of number and shape [n, …], and y of integers 0, 1, 2, … and shape [n].
//
// # Values
//
// Features are as in the files: pixels stay 0 … 255. Whoever wants them standardized calls Standardize on the training
// rows and applies the Scaler to all parts. Everything a reader returns is finite and in range.
//
// # Randomness
//
// Splits, label noise and minibatches come from Philox streams: they depend on the seed and on what they are for, and on
// nothing that ran before, so that a resumed run draws the same.
//
// # Errors
//
// A *UsageError is a name or value that can never work, a *NotFoundError a known data set that is not on this machine;
// other errors are about files, and name them. Nothing here panics on bad input.
package data
