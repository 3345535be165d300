package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/experiments/prune"
	"bilevel/experiments/train"
	"bilevel/internal/atomicfile"

	"github.com/spf13/cobra"
)

// pruneGroup is the name of the command that those of pruning stand below.
const pruneGroup = "prune"

func (a *app) pruneCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   pruneGroup,
		Short: "Make networks sparse or smaller",
		Long: `prune compares ways to choose which weights or units of a network are left, bi-level pruning among them,
and writes the networks that are left.`,
	}
	c.AddCommand(a.exportNetwork())
	return c
}

func (a *app) pruneRun() *application {
	f := &experimentFlags{}
	f.bytes, f.wide = true, true
	var c prune.Config
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Train a network, prune it, train what is left",
		Long: `run trains a dense network, finds a mask by --method that keeps a part of its weights or units, trains
what is left, scores the test rows once at the end, and measures the latency of the dense and the compacted network. It
writes model.safetensors, whose masked weights are zero, and compacted.safetensors, without the units that nothing
reads. With --units it prunes neurons of perceptrons, and channels of convolutional networks in groups: a channel of a
residual stream goes with the filters and normalizations of all layers that add to it. The first lines of the output say
what belongs together.
Steps and epochs that are not given are the method's own.`,
		Example: `  bilevel prune run --data mnist --method omp --keep 0.05
  bilevel prune run --data mnist --method bip-no-implicit --keep 0.01 --seeds 3
  bilevel prune run --data mnist --method omp --units --keep 0.5
  bilevel prune run --data cifar10 --model resnet20 --method bip --units --keep 0.5 --scope layer`,
		Args:        noArguments,
		Annotations: map[string]string{groupAnnotation: pruneGroup},
	}
	f.register(cmd, "digits | mnist | fashion-mnist | DIR")
	fs := cmd.Flags()
	fs.StringVar(&c.Method, "method", "bip", strings.Join(prune.Methods(), " | "))
	fs.Float64Var(&c.Keep, "keep", 0.05, "part of the weights, or units, that is kept")
	fs.StringVar((*string)(&c.Scope), "scope", "global", "global | layer: the largest of all, or of each layer")
	fs.BoolVar(&c.Units, "units", false,
		"prune whole units with all their weights: neurons, or channels of convolutions")
	fs.BoolVar(&c.Strict, "strict", false, "refuse masks that leave nothing of a layer, in place of a warning")
	fs.BoolVar(&c.SkipLatency, "skip-latency", false, "do not measure the latencies of the networks at the end")
	fs.StringArrayVar(&c.Exclude, "exclude", nil, "name of a layer that is not pruned, such as conv1 or layer1.*; "+
		"repeat it for more, or none (default: the first and the last layer of networks of images, none with --units)")
	fs.StringVar(&c.From, "from", "", "a model file of bilevel train or prune run to prune, or PyTorch's state dict "+
		"of the network of images --model, in place of training one")
	fs.StringVar(&c.Model, "model", "mlp:300-100", "mlp:WIDTHS, the widths of the hidden layers | "+
		strings.Join(train.Networks(), " | "))
	fs.StringVar(&c.Augment, "augment", "", augmentUsage)
	fs.BoolVar(&c.BatchNorm, "batch-norm", false, "normalize the input of each activation over the batch")
	fs.StringVar((*string)(&c.Start), "start", "", "distribution of start values: he | glorot | pytorch (default he)")
	fs.IntVar(&c.Val, "val", 0, "validation rows")
	fs.StringVar(&c.Split, "split", prune.Drawn, "drawn | last: rows for validation, and for the test of a set "+
		"without a part for it, are drawn at random as by bilevel train, or are the last ones, with the inputs of "+
		"perceptrons scaled all alike by the whole training file, as some published figures were measured")
	fs.IntVar(&c.Batch, "batch", 0, "rows of a minibatch")
	fs.Float64Var(&c.Momentum, "momentum", 0.9, "momentum of all steps, those on scores among them")
	fs.Float64Var(&c.WeightDecay, "weight-decay", 1e-4, "weight of the parameters in the gradient")
	fs.StringVar((*string)(&c.Schedule), "schedule", "", strings.Join(scheduleNames(), " | ")+" (default cosine)")
	fs.IntVar(&c.PretrainEpochs, "pretrain-epochs", 5, "epochs of the dense network")
	fs.Float64Var(&c.PretrainStep, "pretrain-step", 0.05, "its step size")
	fs.IntVar(&c.PruneEpochs, "prune-epochs", 5, "epochs of a search, or of each round of imp")
	fs.Float64Var(&c.PruneStep, "prune-step", 0, "step size of the weights in it")
	fs.Float64Var(&c.PruneDecay, "prune-decay", 0, "weight decay in it")
	fs.IntVar(&c.FinetuneEpochs, "finetune-epochs", 0, "epochs of what is left")
	fs.Float64Var(&c.FinetuneStep, "finetune-step", 0, "its step size")
	fs.Float64Var(&c.ScoreStep, "score-step", 0, "step size of scores, of hydra and bip")
	fs.StringVar((*string)(&c.ScoreSchedule), "score-schedule", "", "their schedule (default step)")
	fs.BoolVar(&c.ScoreSign, "score-sign", false,
		"multiply the derivative of scores by their sign, as BiP's program does")
	fs.Float64Var(&c.InverseGamma, "inverse-gamma", 0, "1/γ of the implicit term of bip")
	fs.IntVar(&c.Batches, "batches", 0,
		"minibatches that the two factors of the implicit term are from: 1 | 2 (default 2)")
	fs.IntVar(&c.LowerSteps, "lower-steps", 0, "steps on the weights for each step on the scores of bip")
	fs.IntVar(&c.CGSteps, "cg-steps", 0, "steps of each solve of bip-exact")
	fs.Float64Var(&c.CGTolerance, "cg-tolerance", 0, "relative residual that ends it")
	fs.Float64Var(&c.Part, "part", 0, "part of what is left that a round of imp removes")
	fs.StringVar((*string)(&c.Rewind), "rewind", "",
		"start | epoch | none: what rounds of imp go back to (default start)")
	fs.IntVar(&c.RewindEpochs, "rewind-epochs", 0, "the epoch of --rewind epoch")
	fs.BoolVar(&c.Certificate, "certificate", false,
		"compare the direction of bip with the certified hypergradient where the search ends")
	fs.StringVar(&c.LowerLoss, "lower-loss", "", "clean | adversarial: the loss that weights are trained by")
	fs.StringVar(&c.UpperLoss, "upper-loss", "", "clean | adversarial: the loss that scores go by")
	fs.Var(radius{&c.Eps}, "eps", "radius of the adversarial loss, for pixels in [0, 1], such as 0.03 or 8/255")
	fs.IntVar(&c.AttackSteps, "attack-steps", 0, "steps that rows are perturbed by (default 2)")
	fs.Float64Var(&c.White, "white", 0, "value of a white pixel in the data (default the largest)")
	positive(fs, "keep", "val", "batch", "pretrain-epochs", "pretrain-step", "prune-epochs", "prune-step",
		"finetune-epochs", "finetune-step", "score-step")
	completes(cmd, "lower-loss", prune.Clean, prune.Adversarial)
	completes(cmd, "upper-loss", prune.Clean, prune.Adversarial)
	completes(cmd, "method", prune.Methods()...)
	completes(cmd, "scope", "global", "layer")
	completes(cmd, "split", prune.Drawn, prune.Last)
	completes(cmd, "model", append([]string{"mlp:300-100"}, train.Networks()...)...)
	completes(cmd, "augment", train.CropFlip, train.None)
	completes(cmd, "schedule", scheduleNames()...)
	completes(cmd, "score-schedule", scheduleNames()...)
	completes(cmd, "rewind", "start", "epoch", "none")
	f.registerRuns(cmd)
	return a.run(&application{
		Command: cmd, flags: f, files: named(&c.From),
		check: func() error { return checkPositive(fs) },
		settings: func(set *data.Dataset) (experiments.Experiment, any, string, error) {
			settings := prune.Defaults(set).For(c.Model)
			err := f.overlay(cmd, &settings)
			title := fmt.Sprintf("Pruning %s on %s by %s", settings.Model, filepath.Base(set.Name), settings.Method)
			return prune.Experiment{}, settings, title, err
		},
	})
}

// exportNetwork writes the network of a model file in the format of other programs.
func (a *app) exportNetwork() *cobra.Command {
	var model, out string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write a pruned or trained network as ONNX, or as PyTorch's state dict",
		Long: `export writes the network of a model file for other programs. As ONNX, FILE.onnx, a perceptron has the
scaling of its inputs with it: features [rows, inputs] give logits [rows, classes]. As FILE.safetensors any network is
what load_state_dict takes: its arrays alone, by the names of the public code for the same network. Compacted networks
have layers of fewer channels, as many as the shapes of the arrays say; the scaling of the inputs stands in the
metadata.`,
		Example: `  bilevel prune run --data mnist --method omp --units --keep 0.5
  bilevel prune export --model results/prune-run-mnist/compacted.safetensors --out net.onnx
  bilevel prune export --model results/prune-run-mnist/compacted.safetensors --out net.safetensors`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			dict := strings.HasSuffix(out, ".safetensors")
			if model == "" || !dict && !strings.HasSuffix(out, ".onnx") {
				return usagef("prune export wants --model FILE, a model file, and --out FILE that ends with .onnx or " +
					".safetensors")
			}
			if err := checkOutput(out, model); err != nil {
				return err
			}
			trained, err := train.Open(model)
			if err != nil {
				return err
			}
			if dict {
				return trained.WriteStateDict(out)
			}
			return atomicfile.Write(out, trained.WriteONNX)
		},
	}
	cmd.Flags().StringVar(&model, "model", "", "a model file of bilevel prune run or bilevel train")
	cmd.Flags().StringVar(&out, "out", "", "the file to write")
	return cmd
}
