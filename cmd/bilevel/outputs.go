package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"bilevel/internal/plainyaml"
)

// outputs matches the names of the files that runs of a command write beside config.yaml, those of all commands and
// those of each; nil: it is no command that writes any.
func outputs(command string) *regexp.Regexp {
	all := []string{`result\.json`, `report\.html`, `metrics\.(csv|jsonl)`}
	own := map[string][]string{
		"train": {`error-epochs\.(svg|png)`, `model{seed}\.safetensors`},
		"clean": {
			`(error-(rounds|iterations|seconds)|p-given|weights)\.(svg|png)`, `confusion{seed}\.(svg|png)`,
			`(suspects|labels|trusted){seed}\.csv`, `suspects{seed}\.png`, `model{seed}\.npz`,
		},
		"prune run": {
			`error-epochs\.(svg|png)`, `(model|compacted){seed}\.safetensors`, `layers{seed}\.csv`,
		},
		"robust train": {`accuracy-epochs\.(svg|png)`, `model{seed}\.safetensors`},
		"robust attack": {
			`accuracy-eps\.(svg|png)`, `(accuracy|attacks|classes){seed}\.csv`, `adversarial{seed}\.png`,
			`adversarial(-[0-9.e-]+)?{seed}\.npy`,
		},
	}
	if own[command] == nil {
		return nil
	}
	names := strings.Join(append(all, own[command]...), "|")
	return regexp.MustCompile("^(" + strings.ReplaceAll(names, "{seed}", `(-seed-\d+)?`) + ")$")
}

// removeEarlier removes from a folder what an earlier run of an application has written there, so that nothing of it
// looks like a result of the one that begins. The configuration in the folder says which command that was; without one
// nothing is removed, and other files never are.
func removeEarlier(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, configFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	values, err := plainyaml.Parse(text)
	if err != nil {
		return nil // a file of the user's
	}
	command := ""
	for _, item := range values {
		if item.Key == "command" {
			command, _ = item.Value.(string)
		}
	}
	written := outputs(command)
	if written == nil {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case !e.IsDir() && written.MatchString(e.Name()):
			err = os.Remove(path)
		case e.IsDir() && e.Name() == "cells":
			err = os.RemoveAll(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkOutput refuses to write over a file that the command reads.
func checkOutput(out string, inputs ...string) error {
	there, err := os.Stat(out)
	if err != nil { // there is nothing to replace
		return nil
	}
	for _, in := range inputs {
		if info, err := os.Stat(in); err == nil && os.SameFile(there, info) {
			return usagef("--out %s would replace %s, which the command reads: give another file", out, in)
		}
	}
	return nil
}

// checkOutputs refuses a folder of results where a run of a command would write over a file that it reads.
func checkOutputs(command, dir string, inputs []string) error {
	folder, err := os.Stat(dir)
	if err != nil {
		return nil
	}
	written := outputs(command)
	for _, in := range inputs {
		of, err := os.Stat(filepath.Dir(in))
		if err == nil && os.SameFile(folder, of) && written != nil && written.MatchString(filepath.Base(in)) {
			return usagef("--out %s: the results would replace %s, which the run reads: give another folder", dir, in)
		}
	}
	return nil
}
