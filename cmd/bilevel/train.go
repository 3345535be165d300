package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/experiments/train"
	"bilevel/internal/atomicfile"
	"bilevel/internal/npy"
	"bilevel/tensor"

	"github.com/spf13/cobra"
)

func (a *app) train() *application {
	f := &experimentFlags{}
	f.bytes, f.wide = true, true
	var c train.Config
	cmd := &cobra.Command{
		Use:   "train",
		Short: "Train a classifier: softmax regression, a multilayer perceptron or a convolutional network",
		Long: `train minimizes the mean cross-entropy over the training rows by minibatches, shows the validation error
after each epoch, scores the test rows once at the end, and writes model.safetensors, with the names that PyTorch gives
the same layers and the scaling of the inputs. Flags not given take defaults that depend on the data set and, for
convolutional networks, on the model; bilevel model lists those networks. Images of several channels are shifted by up
to 4 pixels and mirrored at random in each epoch (--augment).`,
		Example: `  bilevel train
  bilevel train --data mnist --model mlp:300-100 --seeds 3
  bilevel train --model lenet --epochs 3
  bilevel train --data mnist --out results/mine && bilevel predict --model results/mine/model.safetensors --data mnist`,
		Args: noArguments,
	}
	f.register(cmd, "digits | mnist | fashion-mnist | DIR")
	fs := cmd.Flags()
	fs.StringVar(&c.Model, "model", "mlp:300-100", "softmax | mlp:WIDTHS, the widths of the hidden layers | "+
		strings.Join(train.Networks(), " | "))
	fs.BoolVar(&c.BatchNorm, "batch-norm", false, "normalize the input of each activation over the batch")
	fs.IntVar(&c.Train, "train", 0, "training rows")
	fs.IntVar(&c.Val, "val", 0, "validation rows")
	fs.IntVar(&c.Epochs, "epochs", 0, "times that training goes through the rows")
	fs.IntVar(&c.Batch, "batch", 0, "rows of a minibatch")
	fs.StringVar(&c.Optimizer, "optimizer", "sgd", "sgd | adam")
	fs.Float64Var(&c.Step, "step", 0, "step size")
	fs.Float64Var(&c.Momentum, "momentum", 0, "momentum of sgd")
	fs.Float64Var(&c.WeightDecay, "weight-decay", 0, "weight of the parameters in the gradient")
	fs.StringVar((*string)(&c.Schedule), "schedule", "", strings.Join(scheduleNames(), " | ")+" (default cosine)")
	fs.StringVar((*string)(&c.Start), "start", "",
		"distribution of start values: he | glorot | pytorch (default: what suits the activation)")
	fs.Float64Var(&c.EMA, "ema", 0,
		"factor of an exponential average of the iterates, which is then the model (0: none)")
	fs.Float64Var(&c.Tail, "tail", 0,
		"part of the run, at its end, whose iterates are averaged; the average is then the model (0: none)")
	fs.StringArrayVar(&c.Decay, "decay", nil,
		"PATTERN=WEIGHT: the weight decay of arrays with such names, such as *.bias=0, or PATTERN:INPUT=WEIGHT: that "+
			"of the weights of one input, such as weight:3=0.01; repeat it for more")
	fs.Float64Var(&c.LabelSmoothing, "label-smoothing", 0, "part of each label that is spread over all classes")
	fs.StringVar(&c.Augment, "augment", "", augmentUsage)
	fs.StringVar(&c.From, "from", "", fromUsage)
	positive(fs, "train", "val", "epochs", "batch", "step")
	completes(cmd, "model", append([]string{"softmax", "mlp:300-100"}, train.Networks()...)...)
	completes(cmd, "augment", train.CropFlip, train.None)
	completes(cmd, "optimizer", "sgd", "adam")
	completes(cmd, "schedule", scheduleNames()...)
	f.registerRuns(cmd)
	return a.run(&application{
		Command: cmd, flags: f, files: named(&c.From),
		check: func() error { return checkPositive(fs) },
		settings: func(set *data.Dataset) (experiments.Experiment, any, string, error) {
			settings := train.Defaults(set).For(c.Model)
			err := f.overlay(cmd, &settings)
			if !fs.Changed("batch") { // the default suits larger sets
				settings.Batch = min(settings.Batch, max(1, settings.Train))
			}
			title := fmt.Sprintf("Training %s on %s", settings.Model, filepath.Base(set.Name))
			return train.Experiment{}, settings, title, err
		},
	})
}

// What flags of several commands say of themselves.
const (
	augmentUsage = "crop-flip | none: change training images at random (default: crop-flip for images with colours " +
		"in a network of images)"
	fromUsage = "a model file to start from, or PyTorch's state dict of the same network, as .safetensors or .npz"
)

func (a *app) predict() *cobra.Command {
	f := &common{}
	var model, part string
	cmd := &cobra.Command{
		Use:   "predict",
		Short: "Label rows with a model that train wrote",
		Long: `predict writes a line for each row: its place, counted from 0, its label as the training data call it,
and the model's probability of that label. To a file that ends with .npy it writes the network's outputs themselves, an
array [rows, classes]. The rows may have labels, which are not looked at, or none: x.npy, a folder
with train_x.npy alone, or a table, of which the columns that the model was trained on are taken by their names. Of
LIBSVM's text, where values of 0 are left out, rows are as wide as the model's.`,
		Example: `  bilevel train --data mnist
  bilevel predict --model results/train-mnist/model.safetensors --data mnist --out labels.csv`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if model == "" {
				return usagef("predict wants --model FILE, a model.safetensors of bilevel train")
			}
			limit, err := f.limit()
			if err != nil {
				return err
			}
			if err := checkOutput(f.out, append(data.Files(f.data), model)...); err != nil {
				return err
			}
			trained, err := train.Open(model)
			if err != nil {
				return err
			}
			network, err := trained.Network()
			if err != nil {
				return err
			}
			o := data.Options{Label: f.label, Unlabelled: true, Columns: trained.Columns, Origin: trained.Origin,
				Width: network.Inputs, ZeroBased: trained.ZeroBased}
			set, err := data.OpenWith(f.data, a.env, o)
			if err != nil {
				return err
			}
			rows := map[string]*data.Set{"train": set.Train, "val": set.Val, "test": set.Test}[part]
			if part == "" {
				if rows = set.Test; rows == nil {
					rows = set.Train
				}
			}
			if rows == nil {
				return usagef("--part %s: the data set %s has no such part", part, set.Name)
			}
			return a.runPredict(c, f, limit, trained, rows)
		},
	}
	f.command = cmd
	cmd.Flags().StringVar(&model, "model", "", "the model file")
	cmd.Flags().StringVar(&f.data, "data", "digits", "digits | mnist | fashion-mnist | DIR")
	completes(cmd, "data", data.Names()...)
	cmd.Flags().StringVar(&f.label, "label", "", "the label column of a table, for a model that was not trained on one")
	cmd.Flags().StringVar(&part, "part", "", "train | val | test (default: test where there is one, else train)")
	cmd.Flags().StringVar(&f.out, "out", "", "a CSV file, or FILE.npy (default: standard output)")
	f.registerDevice(cmd)
	f.registerMemory(cmd)
	return cmd
}

func (a *app) runPredict(c *cobra.Command, f *common, limit int64, model *train.Trained, rows *data.Set) error {
	dev, err := f.openDevice()
	if err != nil {
		return err
	}
	ex := tensor.NewExecutor(dev)
	ex.LimitMemory(limit)
	var table experiments.Table
	var logits []float32
	if strings.HasSuffix(f.out, npy.Suffix) {
		logits, err = model.Logits(c.Context(), ex, rows)
	} else {
		table, err = model.Predict(c.Context(), ex, rows)
	}
	if err = errors.Join(err, ex.Close(), dev.Close()); err != nil {
		return err
	}
	switch {
	case logits != nil:
		array, err := npy.New(logits, rows.N(), len(logits)/rows.N())
		if err != nil {
			return err
		}
		return npy.WriteFile(f.out, array)
	case f.out == "":
		return table.Write(a.stdout)
	}
	return atomicfile.Write(f.out, table.Write)
}
