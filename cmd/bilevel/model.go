package main

import (
	"slices"
	"strconv"
	"strings"

	"bilevel/data"
	"bilevel/experiments/train"

	"github.com/spf13/cobra"
)

// model is the command that shows what a model has and costs.
func (a *app) model() *cobra.Command {
	f := &common{quiet: true, bytes: true}
	var image string
	var classes, batch int
	var batchNorm bool
	cmd := &cobra.Command{
		Use:   "model NAME",
		Short: "Show what a model has and costs, layer by layer",
		Long: `model prints the layers of a model with the parameters of each, the multiply-adds of a forward pass over
one row, and the numbers that it makes of one row, which training keeps. NAME is what other commands take as --model:
softmax, mlp:300-100, or a network of images:

` + strings.Join(indented(train.NetworkForms()), "\n"),
		Example: `  bilevel model resnet20
  bilevel model preactresnet18:activation --image 64x64x3 --classes 200 --json`,
		ValidArgs: append([]string{"softmax", "mlp:300-100"}, train.Networks()...),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("%s wants the name of one model", c.CommandPath())
			}
			given := c.Flags().Changed("image") || c.Flags().Changed("classes")
			if f.data != "" && given {
				return usagef("--data says what images and classes there are: leave out --image and --classes")
			}
			if err := checkPositive(c.Flags()); err != nil {
				return err
			}
			shape, err := parseImage(image)
			if err != nil {
				return err
			}
			if f.data != "" {
				set, err := a.openData(f)
				if err != nil {
					return err
				}
				shape, classes = set.Shape, set.Classes
			}
			d, err := train.Describe(args[0], batchNorm, shape, classes, batch)
			if err != nil {
				return usageError{err}
			}
			if f.json {
				return d.WriteJSON(a.stdout)
			}
			return d.Write(a.stdout)
		},
	}
	cmd.Flags().StringVar(&image, "image", "32x32x3",
		"height, width and channels of the images, such as 28x28 or 32x32x3")
	cmd.Flags().IntVar(&classes, "classes", 10, "classes")
	cmd.Flags().StringVar(&f.data, "data", "", "a data set whose images and classes are meant")
	completes(cmd, "data", data.Names()...)
	cmd.Flags().BoolVar(&batchNorm, "batch-norm", false, "of mlp:WIDTHS: normalize the input of each activation")
	cmd.Flags().IntVar(&batch, "batch", 128, "rows whose memory is told")
	positive(cmd.Flags(), "classes", "batch")
	cmd.Flags().BoolVar(&f.json, "json", false, "one line of JSON")
	return cmd
}

// indented puts two spaces before each line.
func indented(lines []string) []string {
	out := slices.Clone(lines)
	for i := range out {
		out[i] = "  " + out[i]
	}
	return out
}

// parseImage reads 28x28 or 32x32x3.
func parseImage(text string) (shape []int, err error) {
	parts := strings.Split(text, "x")
	for _, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 || n > maxSide || len(parts) > 3 || len(parts) < 2 {
			return nil, usagef("--image %s: wants height, width and channels, such as 28x28 or 32x32x3", text)
		}
		shape = append(shape, n)
	}
	return shape, nil
}

// maxSide is more than any image's side that a model is asked about.
const maxSide = 1 << 14
