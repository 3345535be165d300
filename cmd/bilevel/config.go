package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bilevel/internal/atomicfile"
	"bilevel/internal/nearest"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// configFile is the name of the effective configuration beside results.
const configFile = "config.yaml"

// configFlags say where a configuration comes from and what becomes of an unfinished run.
type configFlags struct {
	config string
	print  bool
	resume string
	every  time.Duration
	show   string // the form of progress
}

// notConfig are flags that belong to one call and not to a configuration.
var notConfig = []string{"memory", "out", "json", "quiet", "config", "print-config", "resume", "checkpoint-every",
	"progress", "help"}

func (f *configFlags) registerConfig(c *cobra.Command) {
	fs := c.Flags()
	fs.StringVar(&f.config, "config", "", "read settings from this YAML file; flags override it")
	fs.BoolVar(&f.print, "print-config", false, "print the configuration with comments and do nothing else")
	fs.StringVar(&f.resume, "resume", "", "go on with the unfinished run in this folder of results")
	fs.DurationVar(&f.every, "checkpoint-every", time.Minute, "time between two checkpoints")
	fs.StringVar(&f.show, "progress", progressAuto,
		"auto (a bar on a terminal, plain lines elsewhere) | json (a JSON object a line)")
}

// openSetting is the annotation of flags whose 0 in a configuration means that the run chooses; nobody may give 0.
const openSetting = "open"

// keyOf is a flag's name in a configuration, flagOf the reverse.
func keyOf(flag string) string { return strings.ReplaceAll(flag, "-", "_") }
func flagOf(key string) string { return strings.ReplaceAll(key, "_", "-") }

// load sets the flags that the user did not give from --config, or from the folder of --resume.
func (f *configFlags) load(c *cobra.Command) error {
	if f.every <= 0 {
		return usagef("--checkpoint-every %v: wants a positive time, such as 30s", f.every)
	}
	if f.show != progressAuto && f.show != progressJSON {
		return usagef("--progress %s: wants %s or %s", f.show, progressAuto, progressJSON)
	}
	switch {
	case f.config != "" && f.resume != "":
		return usagef("--config and --resume: a run that goes on has its configuration in %s",
			filepath.Join(f.resume, configFile))
	case f.resume != "":
		if err := c.Flags().Set("out", f.resume); err != nil {
			return usageError{err}
		}
		path := filepath.Join(f.resume, configFile)
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%s is no folder of results to go on with: %w", f.resume, err)
		}
		return f.apply(c, path, true)
	case f.config != "":
		return f.apply(c, f.config, false)
	}
	return nil
}

// apply sets flags from a file. Where fixed, flags that were given must say the same.
func (f *configFlags) apply(c *cobra.Command, path string, fixed bool) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("the configuration cannot be read: %w", err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(text, &values); err != nil {
		return usagef("%s is no YAML of names and values: %s", path, firstLine(yaml.FormatError(err, false, false)))
	}
	if other, ok := values["command"]; ok && other != c.Name() {
		return usagef("%s is a configuration of `bilevel %v`, not of `bilevel %s`", path, other, c.Name())
	}
	delete(values, "command")
	for key, value := range values {
		flag := c.Flags().Lookup(flagOf(key))
		if flag == nil || slices.Contains(notConfig, flag.Name) {
			return usagef("%s: unknown setting %q%s", path, key, nearest.Hint(key, f.keys(c)))
		}
		if flag.Changed {
			if fixed && flag.Value.String() != textOf(value) {
				return usagef(
					"--resume goes on with %s, where %s is %v and not %s: leave the flag out, or begin anew with --out",
					path, key, value, flag.Value)
			}
			continue
		}
		if err := set(c, flag, value); err != nil {
			return usagef("%s: %s is %v: wants %s", path, key, value, kind(flag))
		}
	}
	return nil
}

// set gives a flag one value, or each of a list, or NAME=VALUE of each of a table.
func set(c *cobra.Command, flag *pflag.Flag, value any) error {
	switch v := value.(type) {
	case []any:
		for _, one := range v {
			if err := c.Flags().Set(flag.Name, textOf(one)); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		for name, one := range v {
			if err := c.Flags().Set(flag.Name, name+"="+textOf(one)); err != nil {
				return err
			}
		}
		return nil
	}
	return c.Flags().Set(flag.Name, textOf(value))
}

func textOf(value any) string { return fmt.Sprint(value) }

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// keys lists the names that a configuration may have.
func (f *configFlags) keys(c *cobra.Command) (keys []string) {
	c.Flags().VisitAll(func(flag *pflag.Flag) {
		if !slices.Contains(notConfig, flag.Name) {
			keys = append(keys, keyOf(flag.Name))
		}
	})
	return keys
}

// text is the effective configuration: every setting with what it means, from the experiment's own configuration where
// it has the name, else from the flag. It is YAML that --config takes.
func (f *configFlags) text(c *cobra.Command, config any) ([]byte, error) {
	own, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(own, &values); err != nil {
		return nil, err
	}
	out := fmt.Appendf(nil, "# bilevel %s, version %s\ncommand: %s\n", c.Name(), versionText(), c.Name())
	c.Flags().VisitAll(func(flag *pflag.Flag) {
		if slices.Contains(notConfig, flag.Name) {
			return
		}
		value, ok := values[keyOf(flag.Name)]
		switch {
		case ok:
		case flag.Value.Type() == "stringArray":
			value = json.RawMessage("[]")
			if s, isSlice := flag.Value.(pflag.SliceValue); isSlice && len(s.GetSlice()) > 0 {
				value, err = json.Marshal(s.GetSlice())
			}
		case flag.Value.Type() == "string":
			value, err = json.Marshal(flag.Value.String())
		default:
			value = json.RawMessage(flag.Value.String())
		}
		line := "%s: %s"
		if flag.Annotations[openSetting] != nil && string(value) == "0" {
			line = "# %s: %s (left open: the run chooses)"
		}
		out = fmt.Appendf(out, "\n# %s\n"+line+"\n", flag.Usage, keyOf(flag.Name), value)
	})
	return out, err
}

// write puts the effective configuration beside the results.
func (f *configFlags) write(c *cobra.Command, dir string, config any) error {
	text, err := f.text(c, config)
	return errors.Join(err, os.MkdirAll(dir, 0o755), atomicfile.WriteFile(filepath.Join(dir, configFile), text))
}
