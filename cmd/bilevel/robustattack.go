package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/experiments/robust"

	"github.com/spf13/cobra"
)

func (a *app) robustAttack() *application {
	f := &experimentFlags{}
	f.bytes = true
	var c robust.EvalConfig
	cmd := &cobra.Command{
		Use:     "attack",
		Aliases: []string{"eval"},
		Short:   "Attack a trained classifier and score what it keeps",
		Long: `attack looks for adversarial examples: images in a ball around each of the first test rows that a network
puts into another class. The network may have been trained elsewhere: PyTorch's names, in a .safetensors or .npz file.
It prints clean and robust accuracy with their standard errors, and writes tables by attack, radius and class, the
adversarial images as .npy, and pictures of some. Pixels are in [0, 1] while attacks run, and so is --eps.

Each --attack is scored by itself, and robust_acc is the worst case over all of them for each image. autoattack is the
standard ensemble of Croce and Hein: apgd-ce, apgd-t, fab-t and square.`,
		Example: `  bilevel train --out plain && bilevel robust attack --model plain/model.safetensors --eps 0.05
  bilevel robust attack --model plain/model.safetensors --eps 2/255 --eps 8/255 --n-examples 500
  bilevel robust attack --model plain/model.safetensors --norm l2 --eps 0.3 --attack pgd-50-10 --attack apgd-t`,
		Args:        noArguments,
		Annotations: map[string]string{groupAnnotation: robustGroup},
	}
	f.register(cmd, "digits | mnist | fashion-mnist | cifar10 | DIR")
	fs := cmd.Flags()
	fs.StringVar(&c.Model, "model", "", "the network, a .safetensors or .npz file")
	fs.StringVar(&c.Net, "net", "",
		"its architecture, as --model of bilevel train calls it (default: as the file says)")
	fs.StringVar((*string)(&c.Activation), "activation", "", "between the layers: relu | tanh | sigmoid | softplus "+
		"(default relu)")
	fs.StringVar((*string)(&c.Norm), "norm", "linf", "linf | l2")
	fs.StringArrayVar(&c.Eps, "eps", nil, "radius such as 0.1 or 8/255; repeat it for more, the first is the main one "+
		"(default 0.1)")
	fs.StringArrayVar(&c.Attack, "attack", nil, "autoattack | pgd-STEPS-RESTARTS | fgsm | apgd-ce | apgd-dlr | "+
		"apgd-t | fab-t | square | square-QUERIES; repeat it for more (default pgd-50-10 and autoattack)")
	fs.IntVar(&c.Examples, "n-examples", 0, "test rows to attack, the first ones (default 1000)")
	fs.Float64Var(&c.White, "white", 0, "the value of a white pixel in the data (default: 255, 16 or 1 by the values)")
	fs.IntVar(&c.Batch, "batch", 0, "images that are attacked at once (default: as many as suit)")
	positive(fs, "n-examples", "white", "batch")
	completes(cmd, "norm", "linf", "l2")
	completes(cmd, "attack", "autoattack", "pgd-50-10", "fgsm", "apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square")
	f.registerRuns(cmd)
	return a.run(&application{
		Command: cmd, flags: f, files: named(&c.Model),
		check: func() error { return checkPositive(fs) },
		settings: func(set *data.Dataset) (experiments.Experiment, any, string, error) {
			config := robust.EvalDefaults(set)
			if err := f.overlay(cmd, &config); err != nil {
				return nil, nil, "", err
			}
			title := fmt.Sprintf("Attacks on %s, %s", filepath.Base(config.Model), filepath.Base(set.Name))
			if config.Model == "" && f.print {
				return robust.Eval{}, config, title, nil
			}
			var err error
			config.Content, err = fingerprintOf(config.Model)
			return robust.Eval{}, config, title, err
		},
	})
}

// fingerprintOf is a sum of a network's file, which tells one network from another of the same name.
func fingerprintOf(path string) (string, error) {
	if path == "" {
		return "", usagef("robust attack wants --model FILE, a network as .safetensors or .npz")
	}
	if !strings.HasSuffix(path, ".safetensors") && !strings.HasSuffix(path, ".npz") {
		return "", nil // refused later, with what to write
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("the network cannot be read: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("the network cannot be read: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}
