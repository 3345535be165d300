package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/experiments/robust"
	"bilevel/experiments/train"

	"github.com/spf13/cobra"
)

// robustGroup is the name of the command that those of robust training and attacks stand below.
const robustGroup = "robust"

func robustCommand() *cobra.Command {
	return &cobra.Command{
		Use:   robustGroup,
		Short: "Train classifiers that keep their answers when inputs are perturbed",
	}
}

func (a *app) robustTrain() *application {
	f := &experimentFlags{}
	f.bytes = true
	var c robust.TrainConfig
	names, settings := robust.Methods()
	cmd := &cobra.Command{
		Use:   "train",
		Short: "Train a classifier against perturbations of its inputs",
		Long: `train minimizes the cross-entropy on images that a method perturbs while it trains, by no more than
--eps in each pixel; pixels are in [0, 1]. After each epoch it shows the loss, the accuracy on training rows as they are
and under attack, how many coordinates of the perturbations lie strictly inside their bounds, and for Fast-BAT how large
the implicit term is beside the gradient. At the end it evaluates the first test rows once, as they are and under
projected gradient ascent (PGD), and writes model.safetensors. Flags not given take defaults that depend on the data
set and, for networks of images, on the model (bilevel model lists them); --set gives a method's own settings. Images of
several channels are shifted by up to 4 pixels and mirrored at random in each epoch (--augment). The methods are:

` + robust.MethodLines(),
		Example: `  bilevel robust train
  bilevel robust train --method fast-bat-official --set step=20 --set implicit=0.1 --epochs 3
  bilevel robust train --method pgd --set steps=2 --set step=0.5 --epochs 3
  bilevel robust train --data cifar10 --model preactresnet:16-32-64/1-1-1 --method fast-bat-official --eps 0.03137`,
		Args:        noArguments,
		Annotations: map[string]string{groupAnnotation: robustGroup},
	}
	f.register(cmd, "digits | mnist | fashion-mnist | cifar10 | DIR")
	fs := cmd.Flags()
	fs.StringVar(&c.Method, "method", "fast-at", strings.Join(names, " | "))
	fs.Var(radius{&c.Eps}, "eps", "the largest change of a pixel in [0, 1], such as 0.03 or 8/255 (default 0.1)")
	fs.StringVar(&c.Model, "model", "mlp:1024-1024", "softmax | mlp:WIDTHS, the widths of the hidden layers | "+
		strings.Join(train.Networks(), " | "))
	fs.BoolVar(&c.BatchNorm, "batch-norm", false, "normalize the input of each activation over the batch")
	fs.StringVar((*string)(&c.Start), "start", "pytorch", "distribution of start values: he | glorot | pytorch")
	fs.IntVar(&c.Train, "train", 0, "training rows")
	fs.IntVar(&c.Val, "val", 0, "validation rows")
	fs.IntVar(&c.Epochs, "epochs", 0, "times that training goes through the rows")
	fs.IntVar(&c.Batch, "batch", 0, "rows of a minibatch")
	fs.Float64Var(&c.LR, "lr", 0, "learning rate where the schedule is at its top")
	fs.Float64Var(&c.Momentum, "momentum", 0, "momentum of the descent")
	fs.Float64Var(&c.WeightDecay, "weight-decay", 0, "weight of the parameters in the gradient")
	fs.StringVar((*string)(&c.Schedule), "schedule", "", strings.Join(scheduleNames(), " | ")+" (default cyclic)")
	fs.Float64Var(&c.LabelSmoothing, "label-smoothing", 0, "part of a label's probability that all classes share")
	fs.Float64Var(&c.WeightAverage, "weight-average", 0, "factor of a running mean of the parameters, such as 0.9995, "+
		"which is then evaluated and written (default 0: none)")
	fs.StringVar(&c.Augment, "augment", "", augmentUsage)
	fs.StringVar(&c.From, "from", "", fromUsage)
	fs.Float64Var(&c.White, "white", 0,
		"the value of a white pixel in the data (default: 16 for the digits, 255 where values are whole and above 1, "+
			"else 1)")
	fs.StringVar(&c.Evaluate, "evaluate", "", "rows that the end is judged by: test | validation, for a choice among "+
		"settings (default test)")
	fs.IntVar(&c.Examples, "n-examples", 0, "rows that are evaluated at the end, the first ones (default 1000)")
	fs.IntVar(&c.AttackSteps, "attack-steps", 0, "steps of the attack in that evaluation, each a quarter of --eps")
	fs.IntVar(&c.Restarts, "restarts", 0, "random starts of that attack")
	fs.StringArrayVar(&c.Ensemble, "ensemble", nil, "attacks that rows meet together after that: autoattack | apgd-ce "+
		"| apgd-t | and others of robust attack; repeat it for more")
	fs.IntVar(&c.EnsembleExamples, "ensemble-examples", 0, "rows that meet them, the first ones (default 200)")
	fs.IntVar(&c.Certificate, "certificate", 0, "epochs after which the direction of Fast-BAT is compared with the "+
		"certified hypergradient, spread evenly")
	positive(fs, "train", "val", "epochs", "batch", "lr", "white", "n-examples", "attack-steps", "restarts",
		"ensemble-examples")
	completes(cmd, "method", names...)
	completes(cmd, "model", append([]string{"softmax", "mlp:1024-1024"}, train.Networks()...)...)
	completes(cmd, "augment", train.CropFlip, train.None)
	completes(cmd, "evaluate", robust.TestRows, robust.ValidationRows)
	completes(cmd, "schedule", scheduleNames()...)
	f.registerRuns(cmd)
	f.own = func() []string { return settings }
	return a.run(&application{
		Command: cmd, flags: f, files: named(&c.From),
		check: func() error {
			if fs.Changed("eps") {
				if err := robust.CheckEps(c.Eps); err != nil {
					return usagef("--%v", err)
				}
			}
			return checkPositive(fs)
		},
		settings: func(set *data.Dataset) (experiments.Experiment, any, string, error) {
			config := robust.Defaults(set).For(c.Model)
			err := f.overlay(cmd, &config)
			config.Set = slices.Clone(f.set)
			title := fmt.Sprintf("Robust training of %s on %s, %s, eps %g", config.Model, filepath.Base(set.Name),
				config.Method, config.Eps)
			return robust.Train{}, config, title, err
		},
	})
}
